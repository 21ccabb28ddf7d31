using System.Globalization;
using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// DeepSeek-V3 (arXiv 2412.19437; also R1 and Moonlight): latent attention, and sigmoid scores whose selection bias balances the load.
/// There is no auxiliary loss: aux_loss_alpha, which published configs still have, is looked at by no reference. The layers after
/// the last, there to predict further tokens in training, are kept in the file and not run.
/// </summary>
public sealed class DeepSeekV3 : Family
{
    public override string Name => "deepseek-v3";
    public override string Architecture => "DeepseekV3ForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "deepseek_v3";

    public override ModelConfig Read(ConfigJson json)
    {
        json.Only("topk_method", null, "noaux_tc");
        json.Only("scoring_func", null, "sigmoid");
        return DeepSeekKeys.Read(json, experts => DeepSeekKeys.BiasedRouter(json, experts), json.Bool("rope_interleave", absent: true), absentDense: 3, absentShared: 1);
    }

    public override JsonObject Write(ModelConfig config)
    {
        JsonObject json = DeepSeekKeys.Write(config, Architecture, "deepseek_v3");
        json["rope_interleave"] = config.Attention.RopeInterleaved;
        json["scoring_func"] = "sigmoid";
        json["topk_method"] = "noaux_tc";
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => DeepSeekKeys.NameInFile(path);

    public override bool Ignores(string nameInFile, ConfigJson json)
    {
        const string Layers = "model.layers.";
        if (!nameInFile.StartsWith(Layers, StringComparison.Ordinal))
            return false;
        int layers = json.Int("num_hidden_layers", max: ConfigJson.MaxLayers);
        int beyond = json.Int("num_nextn_predict_layers", min: 0, max: ConfigJson.MaxLayers, absent: 0);
        return int.TryParse(nameInFile[Layers.Length..].Split('.')[0], NumberStyles.None, CultureInfo.InvariantCulture, out int layer)
            && layer >= layers && layer < layers + beyond;
    }
}
