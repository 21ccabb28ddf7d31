using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Families;

/// <summary>The config keys that the llama-shaped families share.</summary>
internal static class LlamaKeys
{
    /// <summary>Everything but the feed-forward layers.</summary>
    /// <param name="layers">Builds layer i of n.</param>
    /// <param name="ownRopeScaling">The family has looked at rope_scaling itself.</param>
    /// <param name="ownActivation">And at hidden_act.</param>
    public static ModelConfig Read(ConfigJson json, AttentionConfig attention, float absentEps, Func<int, FeedForwardConfig> layers,
        bool ownRopeScaling = false, bool ownActivation = false, int? absentPositions = null)
    {
        if (!ownActivation)
            json.Only("hidden_act", "silu", "swish");
        json.Refuse("quantization_config", "rope_parameters");
        if (!ownRopeScaling)
            json.Refuse("rope_scaling");
        if (json.Float("partial_rotary_factor", absent: 1) != 1)
            throw json.Refused("partial_rotary_factor is not supported for this family");
        if (attention.RopeScaling?.Pairs is { } pairs && 2 * pairs != attention.RopeDim)
            throw json.Refused($"rope_scaling has factors for {pairs} pairs, the heads have {attention.RopeDim / 2}");
        IReadOnlyList<int> bos = json.TokenIds("bos_token_id");
        return new ModelConfig
        {
            VocabSize = json.Int("vocab_size"),
            HiddenSize = json.Int("hidden_size"),
            Attention = attention,
            Layers = [.. Enumerable.Range(0, json.Int("num_hidden_layers", max: ConfigJson.MaxLayers)).Select(layers)],
            MaxPositions = json.Int("max_position_embeddings", max: int.MaxValue, absent: absentPositions),
            RmsNormEps = json.Float("rms_norm_eps", aboveMin: true, absent: absentEps),
            TieWordEmbeddings = json.Bool("tie_word_embeddings", absent: false),
            InitStd = json.Float("initializer_range", absent: 0.02f),
            BosTokenId = bos.Count > 0 ? bos[0] : null,
            EosTokenIds = json.TokenIds("eos_token_id"),
        };
    }

    /// <summary>Heads by the usual keys: num_key_value_heads, head_dim, rope_theta.</summary>
    /// <param name="freeHeadDim">Whether heads may be of another size than the hidden size divided among them.</param>
    /// <param name="ropeScaling">Whether the family's reference looks at rope_scaling.</param>
    /// <param name="absentKvHeads">Key heads where the config does not say; null for as many as query heads.</param>
    public static AttentionConfig Attention(ConfigJson json, bool freeHeadDim, float absentTheta = 10_000, bool ropeScaling = false, int? absentKvHeads = null)
    {
        AttentionConfig attention = Attention(json,
            kvHeads: KvHeads(json, absentKvHeads),
            headDim: json.Int("head_dim", absent: 0),
            ropeTheta: json.Float("rope_theta", aboveMin: true, absent: absentTheta)) with
        {
            RopeScaling = ropeScaling ? RopeScalingKeys.Read(json) : null,
        };
        return freeHeadDim || attention.Heads * attention.HeadDim == json.Int("hidden_size")
            ? attention
            : throw json.Refused($"{attention.Heads} heads of {attention.HeadDim} do not make up hidden_size {json.Int("hidden_size")}, as this family's do");
    }

    /// <summary>num_key_value_heads; null, unlike absence, always means as many as query heads.</summary>
    public static int KvHeads(ConfigJson json, int? absent) =>
        json.Int("num_key_value_heads", absent: json.Names("num_key_value_heads") ? json.Int("num_attention_heads") : absent ?? json.Int("num_attention_heads"));

    /// <summary>The one router loss of Mixtral and its kin: load balance over the tokens of all layers together.</summary>
    public static IReadOnlyList<RouterLoss> BalanceOverTheModel(ConfigJson json, float absent) =>
        [new LoadBalanceLoss(json.Float("router_aux_loss_coef", absent: absent), BalanceScope.Model)];

    /// <summary>The coefficient of a family's one router loss; 0 without it.</summary>
    public static float Coefficient(ModelConfig config) => config.RouterLosses.Count > 0 ? config.RouterLosses[0].Coefficient : 0;

    /// <summary>Heads and their size.</summary>
    /// <param name="headDim">K, or 0 to divide the hidden size among the heads.</param>
    /// <param name="rotaryDim">R, or 0 for all of K.</param>
    public static AttentionConfig Attention(ConfigJson json, int kvHeads, int headDim, float ropeTheta, int window = 0, int rotaryDim = 0)
    {
        int hidden = json.Int("hidden_size"), heads = json.Int("num_attention_heads", max: ConfigJson.MaxExperts);
        if (headDim == 0 && hidden % heads != 0)
            throw json.Refused($"hidden_size {hidden} is not a multiple of num_attention_heads {heads}");
        if (headDim == 0)
            headDim = hidden / heads;
        int turned = rotaryDim == 0 ? headDim : rotaryDim;
        if (turned % 2 != 0)
            throw json.Refused($"rotary embedding needs an even head size, not {turned}");
        if ((long)heads * headDim > ConfigJson.MaxDimension)
            throw json.Refused($"{heads} heads of {headDim} are more than {ConfigJson.MaxDimension}");
        if (heads % kvHeads != 0)
            throw json.Refused($"num_attention_heads {heads} is not a multiple of num_key_value_heads {kvHeads}");
        return new AttentionConfig { Heads = heads, KvHeads = kvHeads, HeadDim = headDim, RopeTheta = ropeTheta, Window = window, RotaryDim = rotaryDim };
    }

    public static JsonObject Write(ModelConfig c, string architecture, string modelType) => new()
    {
        ["architectures"] = new JsonArray(architecture),
        ["bos_token_id"] = c.BosTokenId,
        ["eos_token_id"] = c.EosTokenIds.Count switch
        {
            0 => null,
            1 => c.EosTokenIds[0],
            _ => new JsonArray([.. c.EosTokenIds.Select(static id => (JsonNode)id)]),
        },
        ["hidden_act"] = "silu",
        ["hidden_size"] = c.HiddenSize,
        ["initializer_range"] = c.InitStd,
        ["max_position_embeddings"] = c.MaxPositions,
        ["model_type"] = modelType,
        ["num_attention_heads"] = c.Attention.Heads,
        ["num_hidden_layers"] = c.Layers.Count,
        ["num_key_value_heads"] = c.Attention.KvHeads,
        ["rms_norm_eps"] = c.RmsNormEps,
        ["rope_scaling"] = RopeScalingKeys.Write(c.Attention.RopeScaling),
        ["rope_theta"] = c.Attention.RopeTheta,
        ["tie_word_embeddings"] = c.TieWordEmbeddings,
        ["torch_dtype"] = "float32",
        ["use_cache"] = true,
        ["vocab_size"] = c.VocabSize,
    };

    /// <summary>The config.json as written, if it reads back as the same model: what a family has no words for is refused.</summary>
    /// <exception cref="ArgumentException">It does not.</exception>
    public static JsonObject Faithful(Family family, ModelConfig config, JsonObject json)
    {
        ArgumentException refusal = new($"{family.NameWithArticle} checkpoint's config.json cannot describe this model");
        try
        {
            return family.Read(ConfigJson.Parse("config.json", json.ToJsonString())).Describes(config) ? json : throw refusal;
        }
        catch (CheckpointException)
        {
            throw refusal;
        }
    }

    /// <summary>A layer as the kind that the family has there.</summary>
    /// <exception cref="ArgumentException">It is of another kind.</exception>
    public static T As<T>(object layer) where T : class =>
        layer as T ?? throw new ArgumentException($"this family has {English.A(typeof(T).Name)} where the model has {English.A(layer.GetType().Name)}");

    /// <summary>The mixture that all layers with experts share, and the dense layer of the others, if there are others.</summary>
    /// <exception cref="ArgumentException">There is no mixture, or the layers disagree.</exception>
    public static (MoeConfig Mixture, DenseConfig? Dense) MixtureAndDense(ModelConfig config)
    {
        List<MoeConfig> mixtures = [.. config.Layers.OfType<MoeConfig>().Distinct()];
        List<DenseConfig> dense = [.. config.Layers.OfType<DenseConfig>().Distinct()];
        if (mixtures.Count != 1 || dense.Count > 1)
            throw new ArgumentException($"this family has one kind of mixture and at most one of dense layers, the model has {mixtures.Count} and {dense.Count}");
        return (mixtures[0], dense.FirstOrDefault());
    }

    /// <summary>The one value that all layers of a family without per-layer values share.</summary>
    /// <exception cref="ArgumentException">The layers disagree.</exception>
    public static T Single<T>(ModelConfig config, string what, Func<FeedForwardConfig, T> value)
    {
        List<T> all = [.. config.Layers.Select(value).Distinct()];
        return all.Count == 1 ? all[0] : throw new ArgumentException($"this family has one {what} for all layers, the model has {all.Count}");
    }
}
