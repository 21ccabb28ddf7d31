using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Families;

/// <summary>The config key rope_scaling of transformers: an object with rope_type (formerly type) and what that kind needs.</summary>
internal static class RopeScalingKeys
{
    /// <summary>Null for none and for "default"; kinds that are not supported are refused by name.</summary>
    /// <param name="growsScores">Whether YaRN's mscale_all_dim multiplies attention's scores too, as DeepSeek's models have it.</param>
    /// <param name="ownGrowth">Whether LongRoPE's two forms have magnitudes of their own, short_mscale and long_mscale, as Phi's have.</param>
    public static RopeScaling? Read(ConfigJson config, bool growsScores = false, bool ownGrowth = false)
    {
        if (config.Object("rope_scaling") is not { } json)
            return null;
        string key = json.Has("rope_type") ? "rope_type" : "type";
        json.Only(key, "default", "linear", "llama3", "yarn", "longrope");
        if (json.Is(key, "default"))
            return null;
        if (json.Is(key, "longrope"))
            return LongRope(config, json, ownGrowth);
        float factor = json.Float("factor", min: 1);
        if (growsScores && !json.Is(key, "yarn"))
            json.Refuse("mscale_all_dim");
        if (json.Is(key, "linear"))
            return new LinearRopeScaling(factor);
        if (json.Is(key, "yarn"))
            return Yarn(config, json, factor) with { MscaleAllDim = growsScores ? json.Float("mscale_all_dim", absent: 0) : 0 };
        float low = json.Float("low_freq_factor", aboveMin: true);
        return new Llama3RopeScaling(factor, low, json.Float("high_freq_factor", min: low, aboveMin: true), json.Int("original_max_position_embeddings", max: int.MaxValue));
    }

    /// <summary>As for <see cref="Read"/>, for families whose references know the linear kind; the others they have are refused.</summary>
    public static RopeScaling? ReadLinear(ConfigJson config) => Read(config) is var scaling and (null or LinearRopeScaling)
        ? scaling
        : throw config.Refused("rope_scaling of another type than linear is not supported for this family");

    public static JsonObject? Write(RopeScaling? scaling) => scaling switch
    {
        null => null,
        LinearRopeScaling linear => new JsonObject { ["rope_type"] = "linear", ["factor"] = linear.Factor },
        Llama3RopeScaling llama => new JsonObject
        {
            ["rope_type"] = "llama3",
            ["factor"] = llama.Factor,
            ["low_freq_factor"] = llama.LowFrequencyFactor,
            ["high_freq_factor"] = llama.HighFrequencyFactor,
            ["original_max_position_embeddings"] = llama.OriginalMaxPositions,
        },
        YarnRopeScaling yarn => new JsonObject
        {
            ["rope_type"] = "yarn",
            ["factor"] = yarn.Factor,
            ["original_max_position_embeddings"] = yarn.OriginalMaxPositions,
            ["beta_fast"] = yarn.BetaFast,
            ["beta_slow"] = yarn.BetaSlow,
            ["attention_factor"] = yarn.AttentionFactor,
            ["mscale_all_dim"] = yarn.MscaleAllDim,
            ["truncate"] = yarn.Truncate,
        },
        LongRopeScaling both => new JsonObject
        {
            ["rope_type"] = "longrope",
            ["short_factor"] = new JsonArray([.. both.Short.Factors.Select(static f => (JsonNode)f)]),
            ["long_factor"] = new JsonArray([.. both.Long.Factors.Select(static f => (JsonNode)f)]),
            ["short_mscale"] = both.Short.Grows,
            ["long_mscale"] = both.Long.Grows,
            ["attention_factor"] = both.Short.Grows,
            ["original_max_position_embeddings"] = both.OriginalMaxPositions,
        },
        _ => throw new ArgumentException($"no config.json has words for {scaling.GetType().Name}"),
    };

    private static LongRopeScaling LongRope(ConfigJson config, ConfigJson json, bool ownGrowth)
    {
        const string Original = "original_max_position_embeddings";
        int longest = config.Int("max_position_embeddings", max: int.MaxValue);
        ConfigJson where = json.Has(Original) ? json : config;
        int original = where.Int(Original, min: 2, max: int.MaxValue, absent: longest);
        double factor = where.Has(Original) ? (double)longest / original : json.Float("factor", min: 1, absent: 1);
        float usual = json.Float("attention_factor", aboveMin: true, absent: LongRopeScaling.Growth(factor, original));
        return new LongRopeScaling(Form("short"), Form("long"), original);

        PairwiseRopeScaling Form(string which) =>
            new(json.Floats($"{which}_factor", aboveMin: true), ownGrowth ? json.Float($"{which}_mscale", aboveMin: true) : usual);
    }

    private static YarnRopeScaling Yarn(ConfigJson config, ConfigJson json, float factor)
    {
        float mscale = json.Float("mscale", absent: 0), allDim = json.Float("mscale_all_dim", absent: 0);
        float usual = mscale != 0 && allDim != 0
            ? YarnRopeScaling.Growth(factor, mscale) / YarnRopeScaling.Growth(factor, allDim)
            : YarnRopeScaling.Growth(factor);
        return new YarnRopeScaling(factor,
            json.Int("original_max_position_embeddings", max: int.MaxValue, absent: config.Int("max_position_embeddings", max: int.MaxValue)),
            json.Float("beta_fast", aboveMin: true, absent: 32), json.Float("beta_slow", aboveMin: true, absent: 1),
            json.Float("attention_factor", aboveMin: true, absent: usual), json.Bool("truncate", absent: true));
    }
}
