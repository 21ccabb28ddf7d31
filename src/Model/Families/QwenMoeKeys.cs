using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>The config keys of feed-forward layers that Qwen2-MoE and Qwen3-MoE share: experts in every n-th layer, less a list of dense ones.</summary>
internal static class QwenMoeKeys
{
    /// <summary>Layer i has experts when it is not in mlp_only_layers and i + 1 is a multiple of decoder_sparse_step.</summary>
    /// <param name="alsoBanks">What every mixture has beside the routed experts.</param>
    public static Func<int, FeedForwardConfig> Layers(ConfigJson json, params ReadOnlySpan<ExpertBankConfig> alsoBanks)
    {
        int experts = json.Int("num_experts", max: ConfigJson.MaxExperts), step = json.Int("decoder_sparse_step", absent: 1);
        IReadOnlyList<int> dense = json.Ints("mlp_only_layers");
        MoeConfig moe = new(
            new TopKRouterConfig(json.Int("num_experts_per_tok", max: experts), json.Bool("norm_topk_prob", absent: false)),
            [new FfnExpertsConfig(experts, json.Int("moe_intermediate_size")), .. alsoBanks]);
        return layer => dense.Contains(layer) || (layer + 1) % step != 0 ? new DenseConfig(json.Int("intermediate_size")) : moe;
    }

    /// <summary>The mixture that all layers with experts share.</summary>
    /// <exception cref="ArgumentException">There is none, or the layers disagree.</exception>
    public static MoeConfig Write(ModelConfig config, JsonObject json)
    {
        (MoeConfig moe, DenseConfig? dense) = LlamaKeys.MixtureAndDense(config);
        TopKRouterConfig router = LlamaKeys.As<TopKRouterConfig>(moe.Router);
        json["decoder_sparse_step"] = 1;
        if (dense is not null)
            json["intermediate_size"] = dense.IntermediateSize;
        json["mlp_only_layers"] = new JsonArray([.. config.Layers.Index().Where(static l => l.Item is DenseConfig).Select(static l => (JsonNode)l.Index)]);
        json["moe_intermediate_size"] = LlamaKeys.As<FfnExpertsConfig>(moe.Banks[0]).IntermediateSize;
        json["norm_topk_prob"] = router.Renormalize;
        json["num_experts"] = moe.NumExperts;
        json["num_experts_per_tok"] = router.TopK;
        json["router_aux_loss_coef"] = LlamaKeys.Coefficient(config);
        WindowKeys.WriteQwen(config, json);
        return moe;
    }
}
