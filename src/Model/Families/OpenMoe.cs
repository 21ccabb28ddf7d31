using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// OpenMoE (Xue et al., 2024, arXiv 2402.01739) as ColossalAI has it: scores that are not scaled, experts in every n-th layer and a
/// dense layer after them, a capacity that drops by choice, more of it outside training. Its rotary base is 10000, whatever the config
/// says, and the factor of its capacity counts a token's choices. The reference generates without a key-value cache, and so drops by
/// the whole text so far; <c>--no-cache</c> does so too. Label smoothing and z-loss of its cross-entropy are not taken.
/// </summary>
public sealed class OpenMoe : Family
{
    private const float RopeTheta = 10_000;
    private const int TopKAbsent = 2, MinCapacityAbsent = 4, PositionsAbsent = 2048;

    public override string Name => "openmoe";
    public override string Architecture => "OpenMoeForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "llama" && json.Has("moe_layer_interval");

    public override ModelConfig Read(ConfigJson json)
    {
        json.Only("hidden_act", "swiglu");
        json.Only("router_noisy_policy", "Jitter", "Gaussian", null);
        if (!json.Bool("mlp_gated", absent: true))
            throw json.Refused("mlp_gated false is no network with hidden_act swiglu");
        json.Int("pretraining_tp", max: 1, absent: 1);      // the reference cannot split its gates
        int interval = json.Int("moe_layer_interval"), experts = json.Int("num_experts", max: ConfigJson.MaxExperts);
        DenseConfig dense = new(json.Int("intermediate_size")) { TwiceGated = true };
        MoeConfig moe = new(Router(json, experts), [new TwiceGatedExpertsConfig(experts, dense.IntermediateSize)]) { Then = dense };
        AttentionConfig attention = LlamaKeys.Attention(json,
            kvHeads: json.Int("num_key_value_heads", absent: json.Int("num_attention_heads")), headDim: json.Int("head_dim"), RopeTheta) with
        {
            Scale = 1,
            SeesFirst = true,
        };
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, layer => (layer + 1) % interval == 0 ? moe : dense,
            ownRopeScaling: true, ownActivation: true, absentPositions: PositionsAbsent) with
        {
            RouterLosses =
            [
                new LoadBalanceLoss(json.Float("router_aux_loss_factor", absent: 0.01f)) { PaddingCounts = true },
                new RouterZLoss(json.Float("router_z_loss_factor", absent: 0.0001f)) { PaddingCounts = true },
            ],
        };
    }

    public override JsonObject Write(ModelConfig config)
    {
        int first = config.Layers.TakeWhile(static l => l is DenseConfig).Count();
        MoeConfig? moe = first < config.Layers.Count ? LlamaKeys.As<MoeConfig>(config.Layers[first]) : null;
        SwitchRouterConfig router = moe is null ? new SwitchRouterConfig(TopKAbsent) : LlamaKeys.As<SwitchRouterConfig>(moe.Router);
        JsonObject json = LlamaKeys.Write(config, Architecture, "llama");
        json["head_dim"] = config.Attention.HeadDim;
        json["hidden_act"] = "swiglu";
        json["intermediate_size"] = (moe?.Then ?? config.Layers[0] as DenseConfig)?.IntermediateSize;
        json["mlp_gated"] = true;
        json["moe_layer_interval"] = first + 1;
        json["num_experts"] = moe?.NumExperts ?? 1;
        json["pretraining_tp"] = 1;
        json["router_aux_loss_factor"] = config.RouterLosses.OfType<LoadBalanceLoss>().FirstOrDefault()?.Coefficient ?? 0;
        json["router_capacity_factor_eval"] = (router.Capacity?.EvaluationFactor ?? 0) / router.TopK;
        json["router_capacity_factor_train"] = (router.Capacity?.Factor ?? 0) / router.TopK;
        json["router_drop_tks"] = true;
        json["router_min_capacity"] = router.Capacity?.Min ?? MinCapacityAbsent;
        json["router_noisy_policy"] = router.LogitJitter > 0 ? "Jitter" : router.LogitNoise > 0 ? "Gaussian" : null;
        json["router_topk"] = router.TopK;
        json["router_z_loss_factor"] = config.RouterLosses.OfType<RouterZLoss>().FirstOrDefault()?.Coefficient ?? 0;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => Rename(path, (".mlp.gate.weight", ".mlp.gate_weight"));

    private static SwitchRouterConfig Router(ConfigJson json, int experts)
    {
        const float Jitter = 0.01f;
        int k = json.Int("router_topk", max: Math.Min(2, experts), absent: TopKAbsent);
        return new SwitchRouterConfig(k)
        {
            Capacity = new CapacityConfig(
                k * json.Float("router_capacity_factor_train", aboveMin: true, absent: 1.25f),
                json.Int("router_min_capacity", min: 0, absent: MinCapacityAbsent), DropPolicy.Choice)
            {
                EvaluationFactor = k * json.Float("router_capacity_factor_eval", aboveMin: true, absent: 2),
                Rounding = RoomRounding.DownThenEven,
            },
            LogitJitter = json.Is("router_noisy_policy", "Jitter") ? Jitter : 0,
            LogitNoise = json.Is("router_noisy_policy", "Gaussian") ? 1f / experts / experts : 0,
        };
    }
}
