using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>Small models of the families in the corners of what their configs can say.</summary>
public static class Variants
{
    public static IReadOnlyDictionary<string, ModelConfig> All { get; } = new Dictionary<string, ModelConfig>
    {
        ["dynamic-moe p 0.0, every 2nd layer"] = Dynamic(0, frequency: 2, layers: 3, hidden: 12, heads: 2, experts: 5, width: 7),
        ["dynamic-moe p 0.3, every 3rd layer"] = Dynamic(0.3f, frequency: 3, layers: 5, hidden: 18, heads: 3, experts: 4, width: 9),
        ["dynamic-moe p 0.95"] = Dynamic(0.95f, frequency: 1, layers: 2, hidden: 10, heads: 1, experts: 7, width: 5),
        ["dynamic-moe p 1.0, tied"] = Dynamic(1, frequency: 1, layers: 2, hidden: 28, heads: 2, experts: 3, width: 6) with { TieWordEmbeddings = true },
        ["dynamic-moe one layer, one expert"] = Dynamic(0.5f, frequency: 1, layers: 1, hidden: 6, heads: 3, experts: 1, width: 4),
        ["dynamic-moe p 0.6, every 2nd layer, tied"] =
            Dynamic(0.6f, frequency: 2, layers: 2, hidden: 20, heads: 2, experts: 9, width: 17) with { TieWordEmbeddings = true },
        ["mixtral top 1"] = Mixtral(1, heads: 4, kvHeads: 1, headDim: 6, hidden: 14, experts: 5, width: 7, window: 0),
        ["mixtral top 3, tied"] = Mixtral(3, heads: 6, kvHeads: 2, headDim: 10, hidden: 22, experts: 6, width: 9, window: 0) with { TieWordEmbeddings = true },
        ["mixtral window 3"] = Mixtral(2, heads: 2, kvHeads: 2, headDim: 4, hidden: 9, experts: 3, width: 11, window: 3),
        ["mixtral window 1"] = Mixtral(2, heads: 3, kvHeads: 1, headDim: 2, hidden: 7, experts: 4, width: 3, window: 1),
        ["mixtral all experts"] = Mixtral(4, heads: 5, kvHeads: 5, headDim: 6, hidden: 31, experts: 4, width: 5, window: 0),
        ["mixtral wide heads, window 8"] = Mixtral(2, heads: 2, kvHeads: 1, headDim: 34, hidden: 17, experts: 8, width: 33, window: 8),

        ["llama"] = Dense(heads: 4, kvHeads: 2, headDim: 6, width: 17),
        ["llama all biases, tied"] = Biased(Dense(heads: 2, kvHeads: 1, headDim: 10, width: 9, bias: true)) with { TieWordEmbeddings = true },
        ["llama attention biases, narrow heads"] = Biased(Dense(heads: 5, kvHeads: 5, headDim: 2, width: 5)),
        ["qwen2 tied, wide heads"] = Biased(Dense(heads: 2, kvHeads: 2, headDim: 14, width: 23), output: false) with { TieWordEmbeddings = true },

        ["moe-plus-plus two layers of gate"] = PlusPlus(MoePlusPlusGating.WithoutZero, twoLayers: true, std: 0, scale: 2, ffn: 3, width: 5),
        ["moe-plus-plus standardized, plain input"] = PlusPlus(MoePlusPlusGating.WithoutZero, twoLayers: false, std: 1.3f, scale: 1, ffn: 5, width: 7),
        ["moe-plus-plus mixtral gating, one network"] = PlusPlus(MoePlusPlusGating.Mixtral, twoLayers: true, std: 0, scale: 1, ffn: 1, width: 9),

        ["uni-moe-2"] = UniMoe(new DcMoeRouterConfig(0.6f) { Jitter = 0.05f, InputJitter = 0.1f }, real: 4, none: 2, shared: 2),
        ["uni-moe-2 no null experts"] = UniMoe(new DcMoeRouterConfig(0.8f), real: 5, none: 0, shared: 1),
        ["uni-moe-2 no shared experts, wide band"] = UniMoe(new DcMoeRouterConfig(0.5f) { Jitter = 0.3f }, real: 4, none: 1, shared: 0),
        ["uni-moe-2 top 3"] = UniMoe(new DcMoeRouterConfig(0, 3), real: 4, none: 1, shared: 1),
        ["uni-moe-2 all of them"] = UniMoe(new DcMoeRouterConfig(1), real: 3, none: 1, shared: 1),

        ["moe_from_scratch everything"] = Everything(),
        ["moe_from_scratch paper's MoE++"] = FromScratch(
            new MoePlusPlusRouterConfig(2) { Gate = new GateConfig { HiddenSize = 7, Residual = true }, LogitsStd = 1.2f },
            new FfnExpertsConfig(4, 6), new ZeroExpertsConfig(2), new CopyExpertsConfig(1), new ConstantExpertsConfig(1)),
        ["moe_from_scratch min-p, not strict"] = FromScratch(
            new TopPRouterConfig(0.9f, Renormalize: true) { MinP = 0.3f, Strict = false }, new FfnExpertsConfig(2, 6), new FfnExpertsConfig(3, 8) { Fused = true }),
        ["moe_from_scratch nothing but zeros"] = FromScratch(new TopKRouterConfig(1), new ZeroExpertsConfig(3)),
    };

    public static TheoryData<string> Names { get; } = [.. All.Keys];

    public static string FamilyOf(string variant) => variant.Split(' ')[0];

    private static ModelConfig Dense(int heads, int kvHeads, int headDim, int width, bool bias = false) => Tiny.Config("mixtral") with
    {
        Attention = new AttentionConfig { Heads = heads, KvHeads = kvHeads, HeadDim = headDim },
        Layers = [.. Enumerable.Repeat(new DenseConfig(width, bias), 2)],
        RouterLosses = [],
    };

    private static ModelConfig Biased(ModelConfig c, bool output = true) =>
        c with { Attention = c.Attention with { QkvBias = true, OutputBias = output } };

    private static ModelConfig Dynamic(float topP, int frequency, int layers, int hidden, int heads, int experts, int width)
    {
        ModelConfig tiny = Tiny.Config("dynamic-moe");
        MoeConfig moe = new(new TopPRouterConfig(topP), [new FfnExpertsConfig(experts, width)]);
        return tiny with
        {
            HiddenSize = hidden,
            Attention = tiny.Attention with { Heads = heads, KvHeads = heads, HeadDim = hidden / heads },
            Layers = [.. Enumerable.Range(0, layers).Select(i => i % frequency == 0 ? (FeedForwardConfig)moe : new DenseConfig(width))],
        };
    }

    private static ModelConfig PlusPlus(MoePlusPlusGating gating, bool twoLayers, float std, float scale, int ffn, int width)
    {
        MoePlusPlusRouterConfig router = new(2, gating)
        {
            Gate = new GateConfig { HiddenSize = twoLayers ? 8 * (ffn + 4) : 0, Residual = true },
            LogitsStd = std,
        };
        return Tiny.Config("dynamic-moe") with
        {
            Layers = [.. Enumerable.Repeat(new MoeConfig(router,
            [
                new FfnExpertsConfig(ffn, width) { Fused = true }, new ConstantExpertsConfig(2), new CopyExpertsConfig(1), new ZeroExpertsConfig(1),
            ]) { InputScale = scale }, 3)],
        };
    }

    /// <summary>Top-P over all kinds of experts beside shared ones, gating residuals through an inner layer, MoE++'s balance; a dense layer between.</summary>
    public static ModelConfig Everything()
    {
        ModelConfig tiny = FromScratch(
            new DcMoeRouterConfig(0.8f) { Gate = new GateConfig { HiddenSize = 9, Residual = true }, Jitter = 0.1f },
            new FfnExpertsConfig(2, 7), new ConstantExpertsConfig(2), new FfnExpertsConfig(1, 5) { Shared = true }, new CopyExpertsConfig(1),
            new ZeroExpertsConfig(1), new FfnExpertsConfig(2, 4) { Fused = true });
        return tiny with { Layers = [tiny.Layers[0], new DenseConfig(6), ((MoeConfig)tiny.Layers[1]) with { InputScale = 1.5f }] };
    }

    private static ModelConfig FromScratch(RouterConfig router, params IReadOnlyList<ExpertBankConfig> banks) => Tiny.Config("mixtral") with
    {
        Attention = Tiny.Config("mixtral").Attention with { QkvBias = true, QkNorm = QkNorm.PerHead, Window = 5 },
        Layers = [.. Enumerable.Repeat(new MoeConfig(router, banks), 2)],
        RouterLosses = [new HeterogeneousBalanceLoss(0.1f, 0.5f), new RouterZLoss(0.01f)],
        EosTokenIds = [3, 4],
    };

    public static ModelConfig UniMoe(DcMoeRouterConfig router, int real, int none, int shared)
    {
        List<ExpertBankConfig> banks = [new FfnExpertsConfig(real, 7)];
        if (none > 0)
            banks.Add(new ZeroExpertsConfig(none));
        if (shared > 0)
            banks.Add(new FfnExpertsConfig(shared, 9) { Shared = true });
        ModelConfig tiny = Tiny.Config("dynamic-moe");
        return tiny with
        {
            Attention = tiny.Attention with { QkvBias = true },
            Layers = [.. Enumerable.Repeat(new MoeConfig(router, banks), 2)],
            RouterLosses = [new DcMoeBalanceLoss(0.1f)],
        };
    }

    private static ModelConfig Mixtral(int topK, int heads, int kvHeads, int headDim, int hidden, int experts, int width, int window)
    {
        ModelConfig tiny = Tiny.Config("mixtral");
        return tiny with
        {
            HiddenSize = hidden,
            Attention = new AttentionConfig { Heads = heads, KvHeads = kvHeads, HeadDim = headDim, RopeTheta = 500, Window = window },
            Layers = [.. Enumerable.Repeat(new MoeConfig(new TopKRouterConfig(topK), [new FfnExpertsConfig(experts, width)]), 2)],
        };
    }
}
