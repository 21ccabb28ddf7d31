using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;

namespace MoeFromScratch.Model.Families;

/// <summary>Qwen2-MoE (Yang et al., 2024, arXiv 2407.10671; also Qwen1.5-MoE): a sigmoid-gated shared expert beside the routed ones.</summary>
public sealed class Qwen2Moe : Family
{
    public override string Name => "qwen2-moe";
    public override string Architecture => "Qwen2MoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "qwen2_moe";

    public override ModelConfig Read(ConfigJson json)
    {
        SharedExpertConfig shared = new(json.Int("shared_expert_intermediate_size"), Gated: true);
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: false, absentKvHeads: 16) with { QkvBias = json.Bool("qkv_bias", absent: true) };
        ModelConfig model = LlamaKeys.Read(json, attention, absentEps: 1e-6f, QwenMoeKeys.Layers(json, shared)) with
        {
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.001f),
        };
        return WindowKeys.ReadQwen(json, model, everyLayer: false);
    }

    public override JsonObject Write(ModelConfig config)
    {
        JsonObject json = LlamaKeys.Write(config, Architecture, "qwen2_moe");
        MoeConfig moe = QwenMoeKeys.Write(config, json);
        json["qkv_bias"] = config.Attention.QkvBias;
        json["shared_expert_intermediate_size"] = LlamaKeys.As<SharedExpertConfig>(moe.Banks[^1]).IntermediateSize;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => path;
}
