using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Uni-MoE 2 (Li et al., 2025, arXiv 2511.12609), the released code's text path: Qwen2-VL's attention, whose three-axis rotary
/// positions are the plain ones for text, and DCMoE in every layer. The gate's rows: real, null, shared experts. A vision tower
/// is carried along, not run.
/// </summary>
public sealed class UniMoe2 : Family
{
    public override string Name => "uni-moe-2";
    public override string Architecture => "UniMoEV2Qwen2VLForConditionalGeneration";

    public override bool Recognises(ConfigJson json) => json.ModelType == "UniMoEV2_qwen2_vl";

    public override ModelConfig Read(ConfigJson json)
    {
        if (json.Bool("use_sliding_window", absent: false))
            throw json.Refused("use_sliding_window is not supported for this family");
        if (json.Object("rope_scaling") is { } rope)
        {
            rope.Only("type", "mrope", "default", null);
            rope.Only("rope_type", "mrope", "default", null);
        }
        int real = json.Int("mlp_dynamic_expert_num", max: ConfigJson.MaxExperts);
        int none = json.Int("mlp_dynamic_null_expert_num", min: 0, max: ConfigJson.MaxExperts, absent: 0);
        int shared = json.Int("mlp_fixed_expert_num", min: 0, max: ConfigJson.MaxExperts);
        List<ExpertBankConfig> banks = [new FfnExpertsConfig(real, json.Int("dynamic_intermediate_size"))];
        if (none > 0)
            banks.Add(new ZeroExpertsConfig(none));
        if (shared > 0)
            banks.Add(new FfnExpertsConfig(shared, json.Int("shared_intermediate_size")) { Shared = true });
        float topP = json.Float("mlp_dynamic_top_p");
        DcMoeRouterConfig router = new(topP, topP == 0 ? json.Int("mlp_dynamic_top_k", max: real + none) : 0)
        {
            Jitter = json.Float("router_jitter_noise", absent: 0.01f),
            InputJitter = json.Float("input_jitter_noise", absent: 0.01f),
            Capacity = json.Bool("token_drop", absent: false) ? ReadCapacity(json) : null,
        };
        AttentionConfig attention = LlamaKeys.Attention(json, freeHeadDim: false, absentTheta: 1e6f, absentKvHeads: 8) with { QkvBias = true };
        return LlamaKeys.Read(json, attention, absentEps: 1e-5f, _ => new MoeConfig(router, banks), ownRopeScaling: true) with
        {
            RouterLosses = [new DcMoeBalanceLoss(json.Float("l_aux_weight", absent: 0))],
        };
    }

    public override JsonObject Write(ModelConfig config)
    {
        MoeConfig moe = LlamaKeys.Single(config, "feed-forward layer", LlamaKeys.As<MoeConfig>);
        DcMoeRouterConfig router = LlamaKeys.As<DcMoeRouterConfig>(moe.Router);
        FfnExpertsConfig real = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]);
        FfnExpertsConfig? shared = moe.Banks.OfType<FfnExpertsConfig>().FirstOrDefault(static b => b.Shared);
        int half = config.Attention.HeadDim / 2, section = half * 3 / 8;
        JsonObject json = LlamaKeys.Write(config, Architecture, "UniMoEV2_qwen2_vl");
        json["rope_scaling"] = new JsonObject { ["type"] = "mrope", ["mrope_section"] = new JsonArray(half - 2 * section, section, section) };
        json["use_sliding_window"] = false;
        json["mlp_dynamic_expert_num"] = real.Count;
        json["mlp_dynamic_null_expert_num"] = moe.Banks.OfType<ZeroExpertsConfig>().Sum(static b => b.Count);
        json["mlp_dynamic_top_p"] = router.TopP;
        json["mlp_dynamic_top_k"] = router.TopK;
        json["mlp_fixed_expert_num"] = shared?.Count ?? 0;
        json["dynamic_intermediate_size"] = real.IntermediateSize;
        json["shared_intermediate_size"] = shared?.IntermediateSize ?? real.IntermediateSize;
        json["router_jitter_noise"] = router.Jitter;
        json["input_jitter_noise"] = router.InputJitter;
        json["token_drop"] = router.Capacity is not null;
        json["drop_policy"] = router.Capacity is { Policy: DropPolicy.Position } ? "position" : "probs";
        json["capacity_factor"] = router.Capacity?.Factor ?? 1;
        json["min_capacity"] = router.Capacity?.Min ?? 8;
        json["fp32_gate"] = true;
        json["l_aux_weight"] = config.RouterLosses is [var balance] ? balance.Coefficient : 0;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => Rename(path,
        (".mlp.experts.", ".mlp.dynamic_real_moe.deepspeed_moe.experts.deepspeed_experts."), (".mlp.shared_experts.", ".mlp.fixed_real_moe."));

    public override bool Ignores(string nameInFile) => nameInFile.StartsWith("visual.", StringComparison.Ordinal);

    private static CapacityConfig ReadCapacity(ConfigJson json)
    {
        json.Only("drop_policy", "probs", "position", null);
        DropPolicy policy = json.Is("drop_policy", "position") ? DropPolicy.Position : DropPolicy.Probs;
        return new CapacityConfig(json.Float("capacity_factor", aboveMin: true, absent: 1), json.Int("min_capacity", min: 0, absent: 8), policy)
        {
            LimitsShared = policy == DropPolicy.Position,
        };
    }
}
