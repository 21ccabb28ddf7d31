using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Granite-MoE (IBM, 2024): a softmax over the chosen top-k logits, which is the renormalised top-k of the full softmax; four
/// multipliers; all experts of a layer stacked in two tensors.
/// </summary>
public sealed class GraniteMoe : Family
{
    public override string Name => "granitemoe";
    public override string Architecture => "GraniteMoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == Name;

    public override ModelConfig Read(ConfigJson json)
    {
        int experts = json.Int("num_local_experts", max: ConfigJson.MaxExperts);
        MoeConfig moe = new(
            new TopKRouterConfig(json.Int("num_experts_per_tok", max: experts)),
            [new FfnExpertsConfig(experts, json.Int("intermediate_size")) { Stacked = true }]);
        bool bias = json.Bool("attention_bias", absent: false);
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: false, ropeScaling: true) with
        {
            QkvBias = bias,
            OutputBias = bias,
            Scale = Multiplier("attention_multiplier"),
        };
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, _ => moe, ownRopeScaling: true) with
        {
            EmbeddingMultiplier = Multiplier("embedding_multiplier"),
            ResidualMultiplier = Multiplier("residual_multiplier"),
            LogitsScaling = Multiplier("logits_scaling"),
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.001f),
        };

        float Multiplier(string key) => json.Float(key, aboveMin: true, absent: 1);
    }

    public override JsonObject Write(ModelConfig config)
    {
        MoeConfig moe = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<MoeConfig>);
        AttentionConfig a = config.Attention;
        JsonObject json = LlamaKeys.Write(config, Architecture, Name);
        json["attention_bias"] = a.QkvBias;
        json["attention_multiplier"] = a.Scale > 0 ? a.Scale : throw new ArgumentException("a granitemoe checkpoint names its attention scale");
        json["embedding_multiplier"] = config.EmbeddingMultiplier;
        json["intermediate_size"] = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]).IntermediateSize;
        json["logits_scaling"] = config.LogitsScaling;
        json["num_experts_per_tok"] = LlamaKeys.As<TopKRouterConfig>(moe.Router).TopK;
        json["num_local_experts"] = moe.NumExperts;
        json["residual_multiplier"] = config.ResidualMultiplier;
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient(config);
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) =>
        Rename(path, (".mlp.gate.", ".block_sparse_moe.router.layer."), (".mlp.experts.", ".block_sparse_moe."));
}
