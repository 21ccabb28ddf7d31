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
        AttentionConfig attention = LlamaKeys.Attention(json,
            kvHeads: json.Int("num_key_value_heads", absent: json.Int("num_attention_heads")),
            headDim: 0,
            ropeTheta: json.Float("rope_theta", aboveMin: true, absent: 10_000));
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, _ => moe);
    }

    public override JsonObject Write(ModelConfig config)
    {
        if (config.Attention.Window != 0 || config.Attention.Heads * config.Attention.HeadDim != config.HiddenSize)
            throw new ArgumentException("moe-plus-plus checkpoints have attention over the whole width, no window");
        if (config.RouterLosses.Count > 0)
            throw new ArgumentException("moe-plus-plus checkpoints have no words for router losses: they belong to the training options");
        if (!config.Layers.All(static l => l is MoeConfig m && IsWritable(m)))
            throw new ArgumentException("moe-plus-plus checkpoints have fused feed-forward experts, two constant, one copy and one zero expert behind "
                + "a top-2 MoE++ router with gating residuals and no capacity in every layer");
        FfnExpertsConfig ffn = LlamaKeys.Single(config, "bank of experts", static l => (FfnExpertsConfig)((MoeConfig)l).Banks[0]);
        MoePlusPlusRouterConfig router = LlamaKeys.Single(config, "router", static l => (MoePlusPlusRouterConfig)((MoeConfig)l).Router);
        float scale = LlamaKeys.Single(config, "input scale", static l => ((MoeConfig)l).InputScale);
        JsonObject json = LlamaKeys.Write(config, Architecture, "MoE++");
        json["intermediate_size"] = ffn.IntermediateSize;
        json["num_experts"] = new JsonArray(ffn.Count + ZeroComputation);
        json["moe_expert_interval"] = 1;
        json["moe_use_mixtral_gating"] = router.Gating == MoePlusPlusGating.Mixtral;
        json["moe_2layer_gate"] = router.Gate.HiddenSize > 0;
        json["moe_use_logits_norm"] = router.LogitsStd > 0;
        json["moe_gate_norm_std"] = router.LogitsStd > 0 ? router.LogitsStd : 1;
        json["moe_feature_no_mul_topk"] = scale == 1;
        return json;
    }

    public override string NameInFile(string path) =>
        Rename(path, (".mlp.gate_map.", ".mlp.moe.gate.gate_map."), (".mlp.gate.", ".mlp.moe.gate.wg."), (".mlp.experts.", ".mlp.moe.experts.experts."));

    /// <summary>Older checkpoints of llama's descendants store their rotary frequencies.</summary>
    public override bool Ignores(string nameInFile) => nameInFile.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);

    private static bool IsWritable(MoeConfig moe) =>
        moe is
        {
            Router: MoePlusPlusRouterConfig { TopK: TopK, Gating: not MoePlusPlusGating.Raw, Capacity: null, Gate.Residual: true } router,
            Banks: [FfnExpertsConfig { Fused: true, Shared: false }, ConstantExpertsConfig { Count: Constants }, CopyExpertsConfig { Count: 1 }, ZeroExpertsConfig { Count: 1 }],
        }
        && (router.Gate.HiddenSize == 0 || router.Gate.HiddenSize == GateFactor * moe.NumExperts)
        && (moe.InputScale == 1 || (moe.InputScale == TopK && router.Gating == MoePlusPlusGating.WithoutZero));
}
