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

        ["llama"] = Dense(Heads(4, 2, 6), new(17)),
        ["llama stretched"] = Dense(Heads(2, 1, 8) with { RopeScaling = new Llama3RopeScaling(8, 1, 4, 10) }, new(11)),
        ["qwen2 with yarn"] = Dense(Biased(Heads(2, 1, 12), output: false) with { RopeScaling = new YarnRopeScaling(4, 8, 16, 0.5f, 1.2f) }, new(7)),
        ["llama all biases, tied"] = Dense(Biased(Heads(2, 1, 10)), new(9, Bias: true)) with { TieWordEmbeddings = true },
        ["llama attention biases, narrow heads"] = Dense(Biased(Heads(5, 5, 2)), new(5)),
        ["qwen2 tied, wide heads"] = Dense(Biased(Heads(2, 2, 14), output: false), new(23)) with { TieWordEmbeddings = true },

        ["olmoe clipped, grouped"] = Model(Heads(2, 1, 10) with { QkNorm = QkNorm.Whole, ClipQkv = 0.7f }, Experts(3, 6, 9, renormalize: false)),
        ["olmoe renormalised, biases, tied"] =
            Model(Biased(Heads(5, 5, 4)) with { QkNorm = QkNorm.Whole }, Experts(2, 5, 7)) with { TieWordEmbeddings = true },
        ["qwen2-moe"] = Model(Biased(Heads(2, 1, 10), output: false), Experts(2, 5, 7, renormalize: false, new SharedExpertConfig(11, Gated: true))),
        ["qwen2-moe renormalised, some layers dense, tied"] =
            Sparse(Biased(Heads(2, 2, 10), output: false), Experts(3, 4, 6, true, new SharedExpertConfig(3, Gated: true)), new(17), 1, 3) with { TieWordEmbeddings = true },
        ["qwen3-moe biases, first layer dense"] = Sparse(Biased(Heads(4, 2, 6)) with { QkNorm = QkNorm.PerHead }, Experts(3, 5, 7), new(13), 1, 2),
        ["qwen3-moe raw, tied"] = Model(Heads(2, 2, 12) with { QkNorm = QkNorm.PerHead }, Experts(1, 3, 9, renormalize: false)) with { TieWordEmbeddings = true },

        ["granitemoe"] = Granite(Heads(2, 1, 10) with { RopeScaling = new LinearRopeScaling(3) }, topK: 2, count: 5, width: 7),
        ["granitemoe biases, tied, three of three"] = Granite(Biased(Heads(5, 5, 4)), topK: 3, count: 3, width: 6) with { TieWordEmbeddings = true },
        ["phimoe wide band"] = Phi(Heads(2, 1, 10), jitter: 0.4f, count: 5, width: 7),
        ["phimoe all biases, two experts, window 3"] =
            Phi(Biased(Heads(5, 5, 4)) with { Window = 3 }, jitter: 0.1f, count: 2, width: 6) with { HeadBias = true },
        ["phimoe longrope"] = Phi(Heads(2, 1, 10) with
        {
            RopeScaling = new LongRopeScaling(
            new([1, 1, 2, 3, 4], 1.1f), new([2, 3, 4, 5, 6], 1.2f), OriginalMaxPositions: 40)
        }, jitter: 0.1f, count: 3, width: 6),
        ["llama-moe linear gate without noise"] = Split(0, twoLayers: false, 2.5f, 2.5f, [new(4, 6)], [new(4, 6)]),
        ["llama-moe sizes and factors by layer, tied"] =
            Split(0.02f, twoLayers: true, 2, 0.5f, [new(2, 5), new(1, 9)], [new(1, 9), new(1, 4), new(1, 6)]) with { TieWordEmbeddings = true },
        ["llama-moe one expert"] = Split(0.01f, twoLayers: true, 3, 3, [new(1, 7)], [new(1, 7)]),

        ["openmoe"] = OpenMoe(Heads(4, 2, 6), new SwitchRouterConfig(2), count: 4, width: 7, interval: 2, layers: 3),
        ["openmoe top 1, jitter, all layers, tied"] =
            OpenMoe(Heads(2, 2, 10), new SwitchRouterConfig { LogitJitter = 0.01f }, count: 3, width: 5, interval: 1, layers: 2) with { TieWordEmbeddings = true },
        ["openmoe both experts, normal noise"] = OpenMoe(Heads(5, 1, 4), new SwitchRouterConfig(2) { LogitNoise = 0.25f }, count: 2, width: 9, interval: 3, layers: 3),

        ["qwen2 window in one layer"] = Windows(Dense(Biased(Heads(2, 1, 12), output: false) with { Window = 3 }, new(7)), full: [0]),
        ["qwen2-moe window in one layer"] =
            Windows(Model(Biased(Heads(2, 1, 10), output: false) with { Window = 2 }, Repeat(Experts(2, 5, 7, false, new SharedExpertConfig(5, Gated: true)), 3)), full: [0, 2]),
        ["qwen3-moe windows"] = Model(Heads(2, 1, 10) with { QkNorm = QkNorm.PerHead, Window = 4 }, Repeat(Experts(2, 3, 7), 2)),
        ["gpt-oss"] = Oss(Heads(4, 2, 6) with { Window = 3 }, topK: 2, count: 5, width: 7, full: [1]),
        ["gpt-oss yarn between pairs, first layer full"] = Oss(
            Heads(2, 1, 10) with { Window = 1, RopeScaling = new YarnRopeScaling(4, 8, 16, 0.5f, 1.2f, Truncate: false) }, topK: 3, count: 4, width: 1, full: [0]),
        ["gpt-oss windows everywhere, all experts, tied"] = Oss(Heads(3, 3, 4) with { Window = 4 }, topK: 3, count: 3, width: 9) with { TieWordEmbeddings = true },
        ["gpt-oss no windows, no biases"] = Oss(Heads(6, 1, 2), topK: 2, count: 6, width: 3, biases: false),

        ["moe-plus-plus two layers of gate"] = PlusPlus(MoePlusPlusGating.WithoutZero, twoLayers: true, std: 0, scale: 2, ffn: 3, width: 5),
        ["moe-plus-plus standardized, plain input"] = PlusPlus(MoePlusPlusGating.WithoutZero, twoLayers: false, std: 1.3f, scale: 1, ffn: 5, width: 7),
        ["moe-plus-plus mixtral gating, one network"] = PlusPlus(MoePlusPlusGating.Mixtral, twoLayers: true, std: 0, scale: 1, ffn: 1, width: 9),

        ["uni-moe-2"] = UniMoe(new DcMoeRouterConfig(0.6f) { Jitter = 0.05f, InputJitter = 0.1f }, real: 4, none: 2, shared: 2),
        ["uni-moe-2 no null experts"] = UniMoe(new DcMoeRouterConfig(0.8f), real: 5, none: 0, shared: 1),
        ["uni-moe-2 no shared experts, wide band"] = UniMoe(new DcMoeRouterConfig(0.5f) { Jitter = 0.3f }, real: 4, none: 1, shared: 0),
        ["uni-moe-2 top 3"] = UniMoe(new DcMoeRouterConfig(0, 3), real: 4, none: 1, shared: 1),
        ["uni-moe-2 all of them"] = UniMoe(new DcMoeRouterConfig(1), real: 3, none: 1, shared: 1),

        ["deepseek-v3 one group, no rank for queries"] = DeepSeek(Latent(2, 6, 4, new(7, 5)), V3(3, groups: 1, top: 1), new(5, 7), shared: 14, dense: 1),
        ["deepseek-v3 raw weights, halves, biases, yarn, tied"] = DeepSeek(
            Biased(Latent(3, 4, 6, new(9, 11, 8))) with { RopeInterleaved = false, RopeScaling = new YarnRopeScaling(4, 8, 16, 0.5f, 1.2f) { MscaleAllDim = 0.7f } },
            V3(2, groups: 3, top: 2) with { Renormalize = false }, new(6, 5), shared: 0, dense: 0) with
        { TieWordEmbeddings = true },
        ["deepseek-v2 greedy"] = DeepSeek(Latent(2, 5, 2, new(6, 8)), new(3), new(5, 7), shared: 7, dense: 1),
        ["deepseek-v2 grouped, stretched"] = DeepSeek(
            Latent(2, 3, 8, new(10, 3, 6)) with { RopeScaling = new LinearRopeScaling(3) },
            new(2) { Groups = 4, TopGroups = 2, Scale = 3.5f }, new(8, 5), shared: 10, dense: 2),

        ["moe_from_scratch everything"] = Everything(),
        ["moe_from_scratch heads turned in part"] = Model(
            Heads(2, 1, 9) with { RotaryDim = 4, RopeInterleaved = true, QkNorm = QkNorm.PerHead },
            new MoeConfig(V3(2, 2, 1) with { GroupBest = 1, Scores = RouterScores.Softmax }, [new FfnExpertsConfig(4, 6)])) with
        { RouterLosses = [] },
        ["moe_from_scratch latent, all columns turned"] = Model(Latent(2, 0, 6, new(5, 4, 7)) with { Window = 5 }, new DenseConfig(6)) with { RouterLosses = [] },
        ["moe_from_scratch paper's MoE++"] = FromScratch(
            new MoePlusPlusRouterConfig(2) { Gate = new GateConfig { HiddenSize = 7, Residual = true }, LogitsStd = 1.2f },
            new FfnExpertsConfig(4, 6), new ZeroExpertsConfig(2), new CopyExpertsConfig(1), new ConstantExpertsConfig(1)),
        ["moe_from_scratch min-p, not strict"] = FromScratch(
            new TopPRouterConfig(0.9f, Renormalize: true) { MinP = 0.3f, Strict = false }, new FfnExpertsConfig(2, 6), new FfnExpertsConfig(3, 8) { Fused = true }),
        ["moe_from_scratch noisy top-k"] = FromScratch(new NoisyTopKRouterConfig(2), new FfnExpertsConfig(4, 6)),
        ["moe_from_scratch switch that drops in training"] = FromScratch(
            new SwitchRouterConfig
            {
                Capacity = new CapacityConfig(1, Policy: DropPolicy.Position) { EvaluationFactor = 4, PerSequence = true },
                InputJitter = 0.01f,
                PassDropped = true,
            }, new MlpExpertsConfig(3, 6, Activation.GeluTanh), new MlpExpertsConfig(1, 5)),
        ["moe_from_scratch three factors, then a dense layer"] = WithThen(FromScratch(
            new TopKRouterConfig(2), new FfnExpertsConfig(2, 5), new TwiceGatedExpertsConfig(3, 6)), new DenseConfig(4), new DenseConfig(7, Bias: true) { TwiceGated = true }),
        ["moe_from_scratch clamped experts behind others, a gate of two layers with bias"] = FromScratch(
            new TopKRouterConfig(3) { Gate = new GateConfig { HiddenSize = 5, Bias = true } }, new ZeroExpertsConfig(1), new FfnExpertsConfig(2, 6), new ClampedExpertsConfig(3, 4)),
        ["moe_from_scratch by task, raw probabilities"] = FromScratch(
            new TaskRouterConfig(3, Renormalize: false) { Gate = new GateConfig { HiddenSize = 5 } }, new FfnExpertsConfig(3, 6), new CopyExpertsConfig(1), new MlpExpertsConfig(2, 4)),
        ["moe_from_scratch fixed weights"] = FromScratch(new FixedRouterConfig(), new FfnExpertsConfig(2, 6), new ConstantExpertsConfig(1)),
        ["moe_from_scratch nothing but zeros"] = FromScratch(new TopKRouterConfig(1), new ZeroExpertsConfig(3)),
    };

    public static TheoryData<string> Names { get; } = [.. All.Keys];

    public static string FamilyOf(string variant) => variant.Split(' ')[0];

    private static AttentionConfig Heads(int heads, int kvHeads, int headDim) => new() { Heads = heads, KvHeads = kvHeads, HeadDim = headDim };

    private static AttentionConfig Biased(AttentionConfig c, bool output = true) => c with { QkvBias = true, OutputBias = output };

    private static MoeConfig Experts(int topK, int count, int width, bool renormalize = true, params ReadOnlySpan<ExpertBankConfig> alsoBanks) =>
        new(new TopKRouterConfig(topK, renormalize), [new FfnExpertsConfig(count, width), .. alsoBanks]);

    private static ModelConfig Model(AttentionConfig attention, params FeedForwardConfig[] layers) =>
        Tiny.Config("mixtral") with { Attention = attention, Layers = layers };

    private static FeedForwardConfig[] Repeat(FeedForwardConfig layer, int count) => [.. Enumerable.Repeat(layer, count)];

    private static ModelConfig Windows(ModelConfig model, params IReadOnlyList<int> full) => model with { FullAttentionLayers = full };

    private static ModelConfig Oss(AttentionConfig attention, int topK, int count, int width, bool biases = true, params IReadOnlyList<int> full) =>
        Windows(Model(attention with { Sinks = true, QkvBias = biases, OutputBias = biases },
            Repeat(new MoeConfig(new TopKRouterConfig(topK) { Gate = new GateConfig { Bias = true } }, [new ClampedExpertsConfig(count, width)]), 2)), full);

    private static ModelConfig Granite(AttentionConfig attention, int topK, int count, int width) =>
        Model(attention with { Scale = 0.4f }, new MoeConfig(new TopKRouterConfig(topK), [new FfnExpertsConfig(count, width) { Stacked = true }])) with
        {
            EmbeddingMultiplier = 1.7f,
            ResidualMultiplier = 0.3f,
            LogitsScaling = 2.5f,
        };

    private static ModelConfig Phi(AttentionConfig attention, float jitter, int count, int width) =>
        Model(attention, new MoeConfig(new SparseMixerRouterConfig(jitter), [new FfnExpertsConfig(count, width)])) with { LayerNorm = true };

    /// <summary>Two layers, each with its factor and its sizes.</summary>
    private static ModelConfig Split(float noise, bool twoLayers, float firstScale, float secondScale, FfnExpertsConfig[] first, FfnExpertsConfig[] second)
    {
        return Model(Heads(2, 1, 10), Layer(firstScale, first), Layer(secondScale, second)) with { RouterLosses = [new ImportanceLoadLoss(0.2f)] };

        MoeConfig Layer(float scale, FfnExpertsConfig[] banks)
        {
            int experts = banks.Sum(static b => b.Count);
            GateConfig gate = new() { HiddenSize = twoLayers ? experts : 0 };
            return new MoeConfig(new NoisyTopKRouterConfig(Math.Min(2, experts), scale, noise) { LoadRule = LoadRule.NoiseAlone, Gate = gate }, banks);
        }
    }

    private static AttentionConfig Latent(int heads, int plain, int turned, LatentAttentionConfig latent) =>
        Heads(heads, heads, plain + turned) with { RotaryDim = turned, RopeInterleaved = true, Latent = latent };

    private static GroupedTopKRouterConfig V3(int topK, int groups, int top) => new(topK)
    {
        Scores = RouterScores.Sigmoid,
        SelectionBias = true,
        Groups = groups,
        TopGroups = top,
        GroupBest = 2,
        Renormalize = true,
        Scale = 1.5f,
    };

    /// <summary>Three layers, the first ones dense.</summary>
    private static ModelConfig DeepSeek(AttentionConfig attention, GroupedTopKRouterConfig router, FfnExpertsConfig experts, int shared, int dense)
    {
        MoeConfig moe = new(router, shared == 0 ? [experts] : [experts, new SharedExpertConfig(shared, Gated: false)]);
        return Model(attention, [.. Enumerable.Range(0, 3).Select(i => i < dense ? (FeedForwardConfig)new DenseConfig(11) : moe)]) with { RouterLosses = [] };
    }

    /// <summary>Room for all outside training, half of it within.</summary>
    private static ModelConfig OpenMoe(AttentionConfig attention, SwitchRouterConfig router, int count, int width, int interval, int layers)
    {
        CapacityConfig capacity = new(count / 2f, 2, DropPolicy.Choice) { EvaluationFactor = count, Rounding = RoomRounding.DownThenEven };
        DenseConfig dense = new(width) { TwiceGated = true };
        MoeConfig moe = new(router with { Capacity = capacity }, [new TwiceGatedExpertsConfig(count, width)]) { Then = dense };
        return Model(attention with { Scale = 1, SeesFirst = true }, [.. Enumerable.Range(1, layers).Select(i => i % interval == 0 ? (FeedForwardConfig)moe : dense)]) with
        {
            RouterLosses = [new LoadBalanceLoss(0.2f) { PaddingCounts = true }, new RouterZLoss(0.1f) { PaddingCounts = true }],
        };
    }

    private static ModelConfig WithThen(ModelConfig config, params DenseConfig[] then) =>
        config with { Layers = [.. config.Layers.Cast<MoeConfig>().Zip(then, static (layer, then) => layer with { Then = then })] };

    private static ModelConfig Dense(AttentionConfig attention, DenseConfig layer) => Model(attention, layer, layer) with { RouterLosses = [] };

    /// <summary>Experts in the named layers, the last of which is the last.</summary>
    private static ModelConfig Sparse(AttentionConfig attention, MoeConfig moe, DenseConfig dense, params int[] mixtures) =>
        Model(attention, [.. Enumerable.Range(0, mixtures[^1] + 1).Select(i => mixtures.Contains(i) ? (FeedForwardConfig)moe : dense)]);

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
            new ZeroExpertsConfig(1), new FfnExpertsConfig(2, 4) { Fused = true }, new ClampedExpertsConfig(1, 3));
        return tiny with
        {
            Attention = tiny.Attention with { Sinks = true },
            FullAttentionLayers = [1],
            Layers = [tiny.Layers[0], new DenseConfig(6), ((MoeConfig)tiny.Layers[1]) with { InputScale = 1.5f }],
        };
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
