using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Reads a <see cref="ModelConfig"/> as <see cref="RecordWriting"/> writes it: every property by name, unknown ones refused, absent
/// ones as a new record has them, null only where the record may have it. By hand, because a serializer takes longer to start than
/// all else of loading a model; saving a model checks that what was written reads back.
/// </summary>
internal static class RecordReading
{
    private static readonly string[] Nullable = ["latent", "rope_scaling", "then", "capacity", "evaluation_factor", "bos_token_id"];

    /// <summary>A whole model.</summary>
    /// <param name="vocabSize">Where the object has none.</param>
    /// <param name="absentPositions">Where the object may have none.</param>
    /// <exception cref="CheckpointException">A property is missing, unknown or of another kind.</exception>
    public static ModelConfig Model(ConfigJson json, int? vocabSize = null, int? absentPositions = null) => Exact(json, new ModelConfig
    {
        VocabSize = vocabSize ?? json.Whole("vocab_size"),
        HiddenSize = json.Whole("hidden_size"),
        Attention = Attention(json.Needed("attention")),
        Layers = Parts<FeedForwardConfig>(json.Objects("layers") ?? throw json.Missing("layers")),
        FullAttentionLayers = json.Ints("full_attention_layers"),
        MaxPositions = json.Whole("max_positions", absentPositions),
        RmsNormEps = json.Number("rms_norm_eps", 1e-5f),
        LayerNorm = json.Bool("layer_norm", false),
        HeadBias = json.Bool("head_bias", false),
        EmbeddingMultiplier = json.Number("embedding_multiplier", 1),
        ResidualMultiplier = json.Number("residual_multiplier", 1),
        LogitsScaling = json.Number("logits_scaling", 1),
        TieWordEmbeddings = json.Bool("tie_word_embeddings", false),
        InitStd = json.Number("init_std", 0.02f),
        RouterLosses = Parts<RouterLoss>(json.Objects("router_losses") ?? []),
        BosTokenId = json.Has("bos_token_id") ? json.Whole("bos_token_id") : null,
        EosTokenIds = json.Ints("eos_token_ids"),
    });

    public static DenseConfig Dense(ConfigJson json) =>
        new(json.Whole("intermediate_size"), json.Bool("bias", false)) { TwiceGated = json.Bool("twice_gated", false) };

    public static MoeConfig Mixture(ConfigJson json) =>
        new(Router(json.Needed("router")), Parts<ExpertBankConfig>(json.Objects("banks") ?? throw json.Missing("banks")))
        {
            InputScale = json.Number("input_scale", 1),
            Then = json.Object("then") is { } then ? Exact(then, Dense(then)) : null,
        };

    public static PairwiseRopeScaling Factors(ConfigJson json) => new(json.Floats("factors"), json.Number("grows"));

    public static LongRopeScaling TwoLengths(ConfigJson json)
    {
        ConfigJson small = json.Needed("short"), large = json.Needed("long");
        return new(Exact(small, Factors(small)), Exact(large, Factors(large)), json.Whole("original_max_positions"));
    }

    /// <summary>A router's room, null for any.</summary>
    public static CapacityConfig? Capacity(ConfigJson router) => router.Object("capacity") is not { } json ? null
        : Exact(json, new CapacityConfig(json.Number("factor"), json.Whole("min", 0), json.Word("policy", DropPolicy.Probs), json.Number("tau", 1))
        {
            LimitsShared = json.Bool("limits_shared", false),
            EvaluationFactor = json.Has("evaluation_factor") ? json.Number("evaluation_factor") : null,
            PerSequence = json.Bool("per_sequence", false),
            Rounding = json.Word("rounding", RoomRounding.Up),
        });

    /// <summary>Any integer: what makes a model of it is the model's to say.</summary>
    public static int Whole(this ConfigJson json, string key, int? absent = null) => json.Int(key, int.MinValue, int.MaxValue, absent);

    /// <summary>Any finite number.</summary>
    public static float Number(this ConfigJson json, string key, float? absent = null) => json.Float(key, float.MinValue, absent: absent);

    private static AttentionConfig Attention(ConfigJson json) => Exact(json, new AttentionConfig
    {
        Heads = json.Whole("heads"),
        KvHeads = json.Whole("kv_heads"),
        HeadDim = json.Whole("head_dim"),
        RotaryDim = json.Whole("rotary_dim", 0),
        RopeInterleaved = json.Bool("rope_interleaved", false),
        Latent = json.Object("latent") is { } latent
            ? Exact(latent, new LatentAttentionConfig(latent.Whole("kv_rank"), latent.Whole("value_dim"), latent.Whole("query_rank", 0))) : null,
        RopeTheta = json.Number("rope_theta", 10_000),
        Window = json.Whole("window", 0),
        QkvBias = json.Bool("qkv_bias", false),
        OutputBias = json.Bool("output_bias", false),
        QkNorm = json.Word("qk_norm", QkNorm.None),
        ClipQkv = json.Number("clip_qkv", 0),
        SeesFirst = json.Bool("sees_first", false),
        Scale = json.Number("scale", 0),
        Sinks = json.Bool("sinks", false),
        RopeScaling = json.Object("rope_scaling") is { } scaling ? Part<RopeScaling>(scaling) : null,
    });

    private static RouterConfig Router(ConfigJson json)
    {
        GateConfig? gate = json.Object("gate") is { } g
            ? Exact(g, new GateConfig { HiddenSize = g.Whole("hidden_size", 0), Bias = g.Bool("bias", false), Residual = g.Bool("residual", false) }) : null;
        RouterConfig router = Part<RouterConfig>(json);
        return gate is null ? router : router with { Gate = gate };
    }

    private static T[] Parts<T>(IReadOnlyList<ConfigJson> all) where T : class => [.. all.Select(Part<T>)];

    /// <summary>The record that the key <c>type</c> names.</summary>
    private static T Part<T>(ConfigJson json) where T : class
    {
        Kind[] kinds = MoeCatalog.Kinds[typeof(T)];
        json.Only("type", Array.ConvertAll(kinds, static k => k.Name));
        return Exact(json, (T)Array.Find(kinds, k => json.Is("type", k.Name))!.Read(json));
    }

    private static ConfigJson Needed(this ConfigJson json, string key) => json.Object(key) ?? throw json.Missing(key);

    private static T Exact<T>(ConfigJson json, T record)
    {
        json.RequireAllAsked(Nullable);
        return record;
    }
}
