using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Models of our own, any mixture of routers, experts and losses: their config.json is <see cref="ModelConfig"/> as it is, its
/// parts by the names of <see cref="MoeCatalog"/>, and their tensors have our paths.
/// </summary>
public sealed class FromScratch : Family
{
    private const string ArchitecturesKey = "architectures", ModelTypeKey = "model_type";

    public override string Name => "moe_from_scratch";
    public override string Architecture => "MoeFromScratchForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == Name;

    public override ModelConfig Read(ConfigJson json)
    {
        json.Names(ArchitecturesKey);
        json.Names(ModelTypeKey);
        return Model(json);
    }

    /// <summary>The model that an object with the properties of <see cref="ModelConfig"/> describes.</summary>
    /// <param name="vocabSize">Where the object has none.</param>
    /// <param name="absentPositions">Where the object may have none.</param>
    /// <exception cref="CheckpointException">A property is missing, unknown or out of range.</exception>
    public static ModelConfig Model(ConfigJson json, int? vocabSize = null, int? absentPositions = null)
    {
        ModelConfig config = RecordReading.Model(json, vocabSize, absentPositions);
        return Fault(config) is { } fault ? throw json.Refused(fault) : config;
    }

    public override JsonObject Write(ModelConfig config)
    {
        if (Fault(config) is { } fault)
            throw new ArgumentException(fault);
        JsonObject json = new() { [ArchitecturesKey] = new JsonArray(Architecture), [ModelTypeKey] = Name };
        try
        {
            foreach ((string key, JsonNode? value) in RecordWriting.Write(config))
                json[key] = value?.DeepClone();
        }
        catch (NotSupportedException e)
        {
            throw new ArgumentException($"{Name} checkpoints know what is in their catalog: {e.Message}", e);
        }
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => path;

    /// <summary>What keeps a config from being a model; routers and experts look at their own settings when they are built.</summary>
    private static string? Fault(ModelConfig c)
    {
        AttentionConfig a = c.Attention;
        if (!Dimensions(c.VocabSize, c.HiddenSize, a.Heads, a.KvHeads, a.HeadDim) || (long)a.Heads * a.HeadDim > ConfigJson.MaxDimension)
            return $"sizes lie between 1 and {ConfigJson.MaxDimension}";
        if (a.Heads % a.KvHeads != 0 || a.RotaryDim < 0 || a.RopeDim > a.HeadDim || a.RopeDim % 2 != 0 || a.Window < 0)
            return "kv_heads divides heads, the rotary part of a head is even, and a window is not negative";
        if (a.RopeScaling?.Pairs is { } pairs && 2 * pairs != a.RopeDim)
            return $"rope_scaling has factors for {pairs} pairs, the heads have {a.RopeDim / 2}";
        if (Fault(a, a.Latent) is { } latent)
            return latent;
        if (!(a.RopeTheta > 0) || !(c.RmsNormEps > 0) || !(c.InitStd >= 0) || c.MaxPositions < 1)
            return "rope_theta, rms_norm_eps and max_positions are above 0, init_std is not below";
        if (!float.IsFinite(1 / c.LogitsScaling) || !float.IsFinite(c.EmbeddingMultiplier) || !float.IsFinite(c.ResidualMultiplier) || !(a.Scale >= 0) || !(a.ClipQkv >= 0))
            return "multipliers are finite, and logits_scaling is not 0";
        if ((a.RopeScaling?.Forms() ?? []).Any(s => !(s.Magnitude > 0) || !a.RopeFrequencies(s).All(static f => f > 0 && float.IsFinite(f))))
            return "rope_scaling leaves frequencies and magnitude above 0";
        if (c.Layers.Count is 0 or > ConfigJson.MaxLayers)
            return $"there are 1 to {ConfigJson.MaxLayers} layers";
        for (int i = 0, last = -1; i < c.FullAttentionLayers.Count; last = c.FullAttentionLayers[i++])
            if (c.FullAttentionLayers[i] <= last || c.FullAttentionLayers[i] >= c.Layers.Count)
                return "full_attention_layers are some of the layers, rising";
        if (c.RouterLosses.Any(static l => l is null || !float.IsFinite(l.Coefficient)))
            return "a router loss has a finite coefficient";
        if (c.Layers.Select(Fault).FirstOrDefault(static f => f is not null) is { } fault)
            return fault;
        MoeConfig? first = c.Layers.OfType<MoeConfig>().FirstOrDefault();
        if (c.Layers.OfType<MoeConfig>().All(m => m.NumExperts == first!.NumExperts))
            return null;
        if (c.RouterLosses.Any(static l => l is LoadBalanceLoss { Scope: BalanceScope.Model }))
            return "a balance over the whole model joins layers of equally many experts";
        return c.Layers.OfType<MoeConfig>().Any(static m => m.Router.Gate.Residual)
            ? "gating residuals join layers of equally many experts" : null;
    }

    private static string? Fault(AttentionConfig a, LatentAttentionConfig? latent)
    {
        if (latent is null)
            return null;
        if (a.KvHeads != a.Heads || a.QkNorm != QkNorm.None || a.ClipQkv != 0 || a.Sinks)
            return "latent attention has as many key heads as heads, and no qk_norm, clip_qkv or sinks";
        return Dimensions(latent.KvRank, latent.ValueDim) && latent.QueryRank is >= 0 and <= ConfigJson.MaxDimension
            && (long)a.Heads * (a.HeadDim + latent.ValueDim) <= ConfigJson.MaxDimension
            ? null : $"the sizes of latent attention lie between 1 and {ConfigJson.MaxDimension}";
    }

    private static string? Fault(FeedForwardConfig layer) => layer switch
    {
        MoeConfig moe => Fault(moe),
        DenseConfig dense => Dimensions(dense.IntermediateSize) ? null : "a dense layer has a width",
        _ => "a layer is dense or a mixture of experts",
    };

    private static string? Fault(MoeConfig moe)
    {
        if (moe.Router?.Gate is null)
            return "a mixture has a router, and that a gate";
        if (moe.Banks.Any(static b => b is null or { Count: < 0 or > ConfigJson.MaxExperts }) || moe.Banks.Sum(static b => (long)b.Count) is 0 or > ConfigJson.MaxExperts)
            return $"a mixture has 1 to {ConfigJson.MaxExperts} experts";
        if (moe.Banks.Any(static b => !Dimensions(Width(b))) || moe.Router.Gate.HiddenSize is < 0 or > ConfigJson.MaxDimension
            || (moe.Then is { } then && !Dimensions(then.IntermediateSize)))
            return $"widths lie between 1 and {ConfigJson.MaxDimension}";
        if (moe.Banks.Count(static b => b.IsStacked) > 1)
            return "a mixture has at most one bank of stacked experts";
        return float.IsFinite(moe.InputScale) ? null : "an input_scale is finite";
    }

    private static int Width(ExpertBankConfig bank) => bank switch
    {
        FfnExpertsConfig b => b.IntermediateSize,
        MlpExpertsConfig b => b.IntermediateSize,
        TwiceGatedExpertsConfig b => b.IntermediateSize,
        ClampedExpertsConfig b => b.IntermediateSize,
        SharedExpertConfig b => b.IntermediateSize,
        _ => 1,
    };

    private static bool Dimensions(params ReadOnlySpan<int> values)
    {
        foreach (int value in values)
            if (value is < 1 or > ConfigJson.MaxDimension)
                return false;
        return true;
    }
}
