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
            kvHeads: LlamaKeys.KvHeads(json, absent: 8),
            headDim: json.Int("head_dim", absent: 0),
            ropeTheta: json.Float("rope_theta", aboveMin: true, absent: 1e6f),
            window: json.Int("sliding_window", absent: 0));
        return LlamaKeys.Read(json, attention, absentEps: 1e-5f, _ => moe) with
        {
            RouterLosses = LlamaKeys.BalanceOverTheModel(json, absent: 0.001f),
        };
    }

    public override JsonObject Write(ModelConfig config)
    {
        if (!config.Layers.All(static l => l is MoeConfig { Router: TopKRouterConfig { Renormalize: true }, Banks: [FfnExpertsConfig] }))
            throw new ArgumentException("mixtral checkpoints have feed-forward experts behind a renormalised top-k router in every layer");
        if (config.RouterLosses is not ([] or [LoadBalanceLoss { Scope: BalanceScope.Model }]))
            throw new ArgumentException("mixtral checkpoints know one router loss, load balance over the whole model");
        JsonObject json = LlamaKeys.Write(config, Architecture, Name);
        json["head_dim"] = config.Attention.HeadDim;
        json["num_local_experts"] = LlamaKeys.Single(config, "number of experts", static l => ((MoeConfig)l).NumExperts);
        json["num_experts_per_tok"] = LlamaKeys.Single(config, "top_k", static l => ((TopKRouterConfig)((MoeConfig)l).Router).TopK);
        json["intermediate_size"] = LlamaKeys.Single(config, "width", static l => ((FfnExpertsConfig)((MoeConfig)l).Banks[0]).IntermediateSize);
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient(config);
        json["sliding_window"] = config.Attention.Window == 0 ? null : config.Attention.Window;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => Names(path);

    /// <summary>Tensor names that PhiMoE has too.</summary>
    internal static string Names(string path)
    {
        path = path.Replace(".mlp.", ".block_sparse_moe.", StringComparison.Ordinal);
        return Rename(path, (".gate_proj.", ".w1."), (".down_proj.", ".w2."), (".up_proj.", ".w3."));
    }
}
