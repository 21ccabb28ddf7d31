using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Phi-3.5-MoE (Abdin et al., 2024, arXiv 2404.14219): Mixtral's shape and tensor names, LayerNorms with bias, biases on
/// attention and the output projection, and a sparse mixer for a router.
/// </summary>
public sealed class PhiMoe : Family
{
    public override string Name => "phimoe";
    public override string Architecture => "PhimoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == Name;

    public override ModelConfig Read(ConfigJson json)
    {
        MoeConfig moe = new(
            new SparseMixerRouterConfig(json.Float("router_jitter_noise", absent: 0.01f)),
            [new FfnExpertsConfig(json.Int("num_local_experts", min: SparseMixerRouterConfig.TopK, max: ConfigJson.MaxExperts), json.Int("intermediate_size"))]);
        json.Int("num_experts_per_tok", SparseMixerRouterConfig.TopK, SparseMixerRouterConfig.TopK, absent: SparseMixerRouterConfig.TopK);
        bool bias = json.Bool("attention_bias", absent: false);
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: false, absentTheta: 1e6f, absentKvHeads: 8) with
        {
            RopeScaling = RopeScalingKeys.Read(json, ownGrowth: true),
            QkvBias = bias,
            OutputBias = bias,
            Window = json.Int("sliding_window", absent: 0),
        };
        if (attention.RopeScaling is not (null or LongRopeScaling))
            throw json.Refused("rope_scaling of another type than longrope is not supported for this family");
        return LlamaKeys.Read(json, attention, absentEps: 1e-5f, _ => moe, ownRopeScaling: true) with
        {
            LayerNorm = true,
            HeadBias = json.Bool("lm_head_bias", absent: false),
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.001f),
        };
    }

    public override JsonObject Write(ModelConfig config)
    {
        MoeConfig moe = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<MoeConfig>);
        JsonObject json = LlamaKeys.Write(config, Architecture, Name);
        json["attention_bias"] = config.Attention.QkvBias;
        json["input_jitter_noise"] = 0;
        json["intermediate_size"] = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]).IntermediateSize;
        json["lm_head_bias"] = config.HeadBias;
        json["num_experts_per_tok"] = SparseMixerRouterConfig.TopK;
        json["num_local_experts"] = moe.NumExperts;
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient(config);
        json["router_jitter_noise"] = LlamaKeys.As<SparseMixerRouterConfig>(moe.Router).Jitter;
        json["sliding_window"] = config.Attention.Window == 0 ? null : config.Attention.Window;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => Mixtral.Names(path);
}
