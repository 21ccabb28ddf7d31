using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>The config keys that DeepSeek-V2 and V3 share: latent attention, leading dense layers, one shared expert beside the routed ones.</summary>
internal static class DeepSeekKeys
{
    /// <summary>Everything, given the family's router.</summary>
    /// <param name="router">Makes the router for so many experts.</param>
    /// <param name="interleaved">Whether neighbouring columns turn together.</param>
    /// <param name="absentDense">Leading dense layers where the config does not say.</param>
    /// <param name="absentShared">Shared experts where it does not.</param>
    public static ModelConfig Read(ConfigJson json, Func<int, RouterConfig> router, bool interleaved, int absentDense, int absentShared)
    {
        int experts = json.Int("n_routed_experts", max: ConfigJson.MaxExperts), width = json.Int("moe_intermediate_size");
        int shared = IsNull(json, "n_shared_experts") ? 0 : json.Int("n_shared_experts", absent: absentShared);
        if ((long)shared * width > ConfigJson.MaxDimension)
            throw json.Refused($"{shared} shared experts of {width} are wider than {ConfigJson.MaxDimension}");
        ExpertBankConfig[] banks = shared == 0
            ? [new FfnExpertsConfig(experts, width)]
            : [new FfnExpertsConfig(experts, width), new SharedExpertConfig(shared * width, Gated: false)];
        MoeConfig moe = new(router(experts), banks);
        int dense = json.Int("first_k_dense_replace", min: 0, absent: absentDense), every = json.Int("moe_layer_freq", absent: 1);
        return LlamaKeys.Read(json, Attention(json, interleaved), absentEps: 1e-6f,
            layer => layer >= dense && layer % every == 0 ? moe : new DenseConfig(json.Int("intermediate_size")), ownRopeScaling: true);
    }

    private static AttentionConfig Attention(ConfigJson json, bool interleaved)
    {
        int heads = json.Int("num_attention_heads", max: ConfigJson.MaxExperts), turned = json.Int("qk_rope_head_dim", absent: 64);
        int values = json.Int("v_head_dim", absent: 128);
        LatentAttentionConfig latent = new(json.Int("kv_lora_rank", absent: 512), values, IsNull(json, "q_lora_rank") ? 0 : json.Int("q_lora_rank", absent: 1536));
        bool bias = json.Bool("attention_bias", absent: false);
        AttentionConfig attention = LlamaKeys.Attention(json,
            kvHeads: json.Int("num_key_value_heads", absent: heads),
            headDim: json.Int("qk_nope_head_dim", absent: 128) + turned,
            ropeTheta: json.Float("rope_theta", aboveMin: true, absent: 10_000),
            rotaryDim: turned) with
        {
            RopeInterleaved = interleaved,
            RopeScaling = RopeScalingKeys.Read(json, growsScores: true),
            QkvBias = bias,
            OutputBias = bias,
            Latent = latent,
        };
        if (attention.KvHeads != heads)
            throw json.Refused($"num_key_value_heads {attention.KvHeads} is not num_attention_heads {heads}: every head has keys of its own");
        if ((long)heads * (attention.HeadDim + values) + latent.KvRank > ConfigJson.MaxDimension)
            throw json.Refused($"{heads} heads with keys of {attention.HeadDim} and values of {values} are more than {ConfigJson.MaxDimension}");
        return attention;
    }

    /// <exception cref="ArgumentException">The model is none of these families.</exception>
    public static JsonObject Write(ModelConfig config, string architecture, string modelType)
    {
        (MoeConfig moe, DenseConfig? dense) = LlamaKeys.MixtureAndDense(config);
        AttentionConfig attention = config.Attention;
        LatentAttentionConfig latent = attention.Latent ?? throw new ArgumentException("this family's attention is latent");
        FfnExpertsConfig ffn = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]);
        int shared = moe.Banks.OfType<SharedExpertConfig>().Sum(static b => b.IntermediateSize);
        GroupedTopKRouterConfig router = LlamaKeys.As<GroupedTopKRouterConfig>(moe.Router);
        JsonObject json = LlamaKeys.Write(config, architecture, modelType);
        json["attention_bias"] = attention.QkvBias;
        json["first_k_dense_replace"] = config.Layers.TakeWhile(static l => l is DenseConfig).Count();
        if (dense is not null)
            json["intermediate_size"] = dense.IntermediateSize;
        json["kv_lora_rank"] = latent.KvRank;
        json["moe_intermediate_size"] = ffn.IntermediateSize;
        json["moe_layer_freq"] = 1;
        json["n_group"] = router.Groups;
        json["n_routed_experts"] = ffn.Count;
        json["n_shared_experts"] = shared == 0 ? null : shared / ffn.IntermediateSize;
        json["norm_topk_prob"] = router.Renormalize;
        json["num_experts_per_tok"] = router.TopK;
        json["q_lora_rank"] = latent.QueryRank == 0 ? null : latent.QueryRank;
        json["qk_nope_head_dim"] = attention.HeadDim - attention.RopeDim;
        json["qk_rope_head_dim"] = attention.RopeDim;
        json["routed_scaling_factor"] = router.Scale;
        json["topk_group"] = router.TopGroups;
        json["v_head_dim"] = latent.ValueDim;
        return json;
    }

    /// <summary>V3's rule, which some V2 configs ask for as <c>noaux_tc</c>.</summary>
    public static GroupedTopKRouterConfig BiasedRouter(ConfigJson json, int experts) => new(json.Int("num_experts_per_tok", max: experts, absent: 8))
    {
        Scores = RouterScores.Sigmoid,
        SelectionBias = true,
        Groups = json.Int("n_group", absent: 8),
        TopGroups = json.Int("topk_group", absent: 4),
        GroupBest = 2,
        Renormalize = json.Bool("norm_topk_prob", absent: true),
        Scale = json.Float("routed_scaling_factor", absent: 2.5f),
    };

    /// <summary>There and null: none, where absence stands for a number.</summary>
    private static bool IsNull(ConfigJson json, string key) => json.Names(key) && !json.Has(key);

    public static string NameInFile(string path) => path.Replace(".shared_expert.", ".shared_experts.", StringComparison.Ordinal);
}
