using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Families;

/// <summary>Qwen3-MoE (Yang et al., 2025, arXiv 2505.09388): heads of their own size, each normalised; no shared expert.</summary>
public sealed class Qwen3Moe : Family
{
    public override string Name => "qwen3-moe";
    public override string Architecture => "Qwen3MoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "qwen3_moe";

    public override ModelConfig Read(ConfigJson json)
    {
        bool bias = json.Bool("attention_bias", absent: false);
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: true, ropeScaling: true, absentKvHeads: 4) with { QkvBias = bias, OutputBias = bias, QkNorm = QkNorm.PerHead };
        ModelConfig model = LlamaKeys.Read(json, attention, absentEps: 1e-6f, QwenMoeKeys.Layers(json), ownRopeScaling: true) with
        {
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.001f),
        };
        model = WindowKeys.ReadQwen(json, model, everyLayer: true);
        return model.FullAttentionLayers.Count == 0 ? model : throw json.Refused("this family's layers all have a window, or none has");
    }

    public override JsonObject Write(ModelConfig config)
    {
        JsonObject json = LlamaKeys.Write(config, Architecture, "qwen3_moe");
        QwenMoeKeys.Write(config, json);
        json["attention_bias"] = config.Attention.QkvBias;
        json["head_dim"] = config.Attention.HeadDim;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => path;
}
