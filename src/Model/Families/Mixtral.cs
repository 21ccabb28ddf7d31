using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>Mixtral (Jiang et al., 2024, arXiv 2401.04088): top-k of the full softmax, always renormalised, in every layer.</summary>
public sealed class Mixtral : Family
{
    public override string Name => "mixtral";
    public override string Architecture => "MixtralForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "mixtral";

    public override ModelConfig Read(ConfigJson json)
    {
        int experts = json.Int("num_local_experts", max: ConfigJson.MaxExperts);
        MoeConfig moe = new(
            new TopKRouterConfig(json.Int("num_experts_per_tok", max: experts)),
            [new FfnExpertsConfig(experts, json.Int("intermediate_size"))]);
        AttentionConfig attention = LlamaKeys.Attention(json,
            kvHeads: json.Int("num_key_value_heads", absent: json.Int("num_attention_heads")),
            ropeTheta: json.Float("rope_theta", aboveMin: true, absent: 1e6f),
            window: json.Int("sliding_window", absent: 0));
        return LlamaKeys.Read(json, attention, absentEps: 1e-5f, _ => moe) with
        {
            RouterLosses = [new LoadBalanceLoss(json.Float("router_aux_loss_coef", absent: 0.001f), BalanceScope.Model)],
        };
    }

    public override JsonObject Write(ModelConfig config)
    {
        JsonObject json = LlamaKeys.Write(config, Architecture, Name);
        json["head_dim"] = config.Attention.HeadDim;
        json["num_local_experts"] = LlamaKeys.Single<int>(config, "number of experts", static l => l is MoeConfig m ? [m.NumExperts] : [0]);
        json["num_experts_per_tok"] = LlamaKeys.Single<int>(config, "top_k",
            static l => l is MoeConfig { Router: TopKRouterConfig { Renormalize: true } r } ? [r.TopK] : [0]);
        json["intermediate_size"] = LlamaKeys.Single<int>(config, "width",
            static l => l is MoeConfig m ? m.Banks.OfType<FfnExpertsConfig>().Select(static b => b.IntermediateSize) : [0]);
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient<LoadBalanceLoss>(config);
        json["sliding_window"] = config.Attention.Window == 0 ? null : config.Attention.Window;
        return json;
    }

    public override string NameInFile(string path)
    {
        path = path.Replace(".mlp.", ".block_sparse_moe.", StringComparison.Ordinal);
        return Rename(path, (".gate_proj.", ".w1."), (".down_proj.", ".w2."), (".up_proj.", ".w3."));
    }
}
