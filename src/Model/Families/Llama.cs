using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Families;

/// <summary>Llama (Touvron et al., 2023, arXiv 2302.13971) and what is built like it: dense, with biases where its keys say so.</summary>
public sealed class Llama : Family
{
    public override string Name => "llama";
    public override string Architecture => "LlamaForCausalLM";

    /// <summary>Dynamic-MoE, asked before, and OpenMoE say "llama" too.</summary>
    public override bool Recognises(ConfigJson json) => json.ModelType == "llama" && !json.Has("moe_layer_interval");

    public override ModelConfig Read(ConfigJson json)
    {
        bool bias = json.Bool("attention_bias", absent: false);
        DenseConfig layer = new(json.Int("intermediate_size"), json.Bool("mlp_bias", absent: false));
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: true, ropeScaling: true) with { QkvBias = bias, OutputBias = bias };
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, _ => layer, ownRopeScaling: true);
    }

    public override JsonObject Write(ModelConfig config)
    {
        DenseConfig layer = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<DenseConfig>);
        JsonObject json = LlamaKeys.Write(config, Architecture, Name);
        json["attention_bias"] = config.Attention.QkvBias;
        json["head_dim"] = config.Attention.HeadDim;
        json["intermediate_size"] = layer.IntermediateSize;
        json["mlp_bias"] = layer.Bias;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => path;

    /// <summary>Old checkpoints store their rotary frequencies.</summary>
    public override bool Ignores(string nameInFile) => nameInFile.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);
}
