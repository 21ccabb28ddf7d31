using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// OLMoE (Muennighoff et al., 2024, arXiv 2409.02060): many small experts in every layer, raw top-k probabilities, queries and
/// keys normalised over their whole width.
/// </summary>
public sealed class Olmoe : Family
{
    public override string Name => "olmoe";
    public override string Architecture => "OlmoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == Name;

    public override ModelConfig Read(ConfigJson json)
    {
        int experts = json.Int("num_experts", max: ConfigJson.MaxExperts);
        MoeConfig moe = new(
            new TopKRouterConfig(json.Int("num_experts_per_tok", max: experts), json.Bool("norm_topk_prob", absent: false)),
            [new FfnExpertsConfig(experts, json.Int("intermediate_size"))]);
        bool bias = json.Bool("attention_bias", absent: false);
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: false, ropeScaling: true) with
        {
            QkvBias = bias,
            OutputBias = bias,
            QkNorm = QkNorm.Whole,
            ClipQkv = json.Has("clip_qkv") ? json.Float("clip_qkv", aboveMin: true) : 0,
        };
        return LlamaKeys.Read(json, attention, absentEps: 1e-5f, _ => moe, ownRopeScaling: true) with
        {
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.01f),
        };
    }

    public override JsonObject Write(ModelConfig config)
    {
        MoeConfig moe = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<MoeConfig>);
        TopKRouterConfig router = LlamaKeys.As<TopKRouterConfig>(moe.Router);
        JsonObject json = LlamaKeys.Write(config, Architecture, Name);
        json["attention_bias"] = config.Attention.QkvBias;
        json["clip_qkv"] = config.Attention.ClipQkv > 0 ? config.Attention.ClipQkv : null;
        json["intermediate_size"] = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]).IntermediateSize;
        json["norm_topk_prob"] = router.Renormalize;
        json["num_experts"] = moe.NumExperts;
        json["num_experts_per_tok"] = router.TopK;
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient(config);
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => path;
}
