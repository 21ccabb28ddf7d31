using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// gpt-oss (OpenAI, 2025, arXiv 2508.10925): windows in every other layer, a learned sink for each head, biases everywhere, a softmax
/// over the chosen top-k logits, which is the renormalised top-k of the full softmax, and clamped experts.
/// </summary>
public sealed class GptOss : Family
{
    private const float Limit = 7, Alpha = 1.702f;

    public override string Name => "gpt-oss";
    public override string Architecture => "GptOssForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "gpt_oss";

    public override ModelConfig Read(ConfigJson json)
    {
        if (json.Float("swiglu_limit", absent: Limit) != Limit || json.Float("swiglu_alpha", absent: Alpha) != Alpha)
            throw json.Refused("experts with another swiglu_limit than 7 or swiglu_alpha than 1.702 are not supported");
        if (!json.Names("rope_scaling"))
            throw json.Refused("rope_scaling is missing: null says that there is none, and the reference's default differs between its releases");
        int experts = json.Int("num_local_experts", max: ConfigJson.MaxExperts);
        MoeConfig moe = new(
            new TopKRouterConfig(json.Int("num_experts_per_tok", max: experts)) { Gate = new GateConfig { Bias = true } },
            [new ClampedExpertsConfig(experts, json.Int("intermediate_size"))]);
        bool bias = json.Bool("attention_bias", absent: true);
        AttentionConfig attention = LlamaKeys.Attention(json,
            kvHeads: json.Int("num_key_value_heads"),
            headDim: json.Int("head_dim"),
            ropeTheta: json.Float("rope_theta", aboveMin: true, absent: 150_000)) with
        {
            RopeScaling = RopeScalingKeys.Read(json),
            QkvBias = bias,
            OutputBias = bias,
            Sinks = true,
        };
        ModelConfig model = LlamaKeys.Read(json, attention, absentEps: 1e-5f, _ => moe, ownRopeScaling: true) with
        {
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.9f),
        };
        return WindowKeys.Read(json, model, static i => i % 2 == 0);
    }

    public override JsonObject Write(ModelConfig config)
    {
        MoeConfig moe = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<MoeConfig>);
        JsonObject json = LlamaKeys.Write(config, Architecture, "gpt_oss");
        json["attention_bias"] = config.Attention.QkvBias;
        json["head_dim"] = config.Attention.HeadDim;
        json["intermediate_size"] = LlamaKeys.As<ClampedExpertsConfig>(moe.Banks[0]).IntermediateSize;
        json["num_experts_per_tok"] = LlamaKeys.As<TopKRouterConfig>(moe.Router).TopK;
        json["num_local_experts"] = moe.NumExperts;
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient(config);
        json["swiglu_limit"] = Limit;
        WindowKeys.Write(config, json);
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => Rename(path, (".mlp.gate.", ".mlp.router."));
}
