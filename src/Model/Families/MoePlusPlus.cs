using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// MoE++ (Jin et al., 2024, arXiv 2410.07348) as its released code has it: feed-forward experts with one fused matrix, then two
/// constant experts, one copy and one zero expert, all counted in the only entry of num_experts; always top-2; no capacity,
/// no router loss. Unless Mixtral gating or moe_feature_no_mul_topk says otherwise, the experts see twice their input.
/// </summary>
public sealed class MoePlusPlus : Family
{
    private const int TopK = 2, Constants = 2, ZeroComputation = Constants + 2, GateFactor = 8;

    public override string Name => "moe-plus-plus";
    public override string Architecture => "MoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "MoE++";

    public override ModelConfig Read(ConfigJson json)
    {
        int experts = json.Int("num_experts", min: ZeroComputation + 1, max: ConfigJson.MaxExperts, listed: true);
        json.Int("moe_expert_interval", max: 1, absent: 1);
        bool mixtral = json.Bool("moe_use_mixtral_gating", absent: false);
        bool doubled = !mixtral && !json.Bool("moe_feature_no_mul_topk", absent: false);
        float std = json.Float("moe_gate_norm_std", aboveMin: true, absent: 1);
        MoeConfig moe = new(
            new MoePlusPlusRouterConfig(TopK, mixtral ? MoePlusPlusGating.Mixtral : MoePlusPlusGating.WithoutZero)
            {
                Gate = new GateConfig { HiddenSize = json.Bool("moe_2layer_gate", absent: true) ? GateFactor * experts : 0, Residual = true },
                LogitsStd = json.Bool("moe_use_logits_norm", absent: false) ? std : 0,
            },
            [
                new FfnExpertsConfig(experts - ZeroComputation, json.Int("intermediate_size")) { Fused = true },
                new ConstantExpertsConfig(Constants), new CopyExpertsConfig(1), new ZeroExpertsConfig(1),
            ])
        {
            InputScale = doubled ? TopK : 1,
        };
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: false) with { RopeScaling = RopeScalingKeys.ReadLinear(json) };
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, _ => moe, ownRopeScaling: true);
    }

    public override JsonObject Write(ModelConfig config)
    {
        MoeConfig moe = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<MoeConfig>);
        MoePlusPlusRouterConfig router = LlamaKeys.As<MoePlusPlusRouterConfig>(moe.Router);
        JsonObject json = LlamaKeys.Write(config, Architecture, "MoE++");
        json["intermediate_size"] = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]).IntermediateSize;
        json["num_experts"] = new JsonArray(moe.NumExperts);
        json["moe_expert_interval"] = 1;
        json["moe_use_mixtral_gating"] = router.Gating == MoePlusPlusGating.Mixtral;
        json["moe_2layer_gate"] = router.Gate.HiddenSize > 0;
        json["moe_use_logits_norm"] = router.LogitsStd > 0;
        json["moe_gate_norm_std"] = router.LogitsStd > 0 ? router.LogitsStd : 1;
        json["moe_feature_no_mul_topk"] = moe.InputScale == 1;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) =>
        Rename(path, (".mlp.gate_map.", ".mlp.moe.gate.gate_map."), (".mlp.gate.", ".mlp.moe.gate.wg."), (".mlp.experts.", ".mlp.moe.experts.experts."));

    /// <summary>Older checkpoints of llama's descendants store their rotary frequencies.</summary>
    public override bool Ignores(string nameInFile) => nameInFile.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);
}
