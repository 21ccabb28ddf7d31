using System.Text.Json.Nodes;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Gguf;

/// <summary>How GGUF files stretch rotary frequencies: by <c>rope.scaling.*</c>, or by a tensor with a divisor for each pair.</summary>
internal static class GgufRope
{
    private const string Type = "rope.scaling.type", Factor = "rope.scaling.factor", OldFactor = "rope.scale_linear",
        Original = "rope.scaling.original_context_length";

    // Those of Llama 3.1 to 3.3, which a file's divisors are compared with.
    private const float Low = 1, High = 4;
    private const int OriginalContext = 8192;

    /// <summary>The <c>rope_scaling</c> of a config.json; null for none.</summary>
    /// <param name="divisors">rope_freqs.weight, or null.</param>
    public static JsonObject? Read(GgufMetadata metadata, GgufArchitecture a, float[]? divisors, int headDim, float theta, long context)
    {
        float factor = metadata.Number(a.Key(metadata.Has(a.Key(Factor)) ? Factor : OldFactor), absent: 0);
        string type = metadata.String(a.Key(Type), absent: "linear");
        if (type is not ("none" or "linear" or "yarn"))
            throw new CheckpointException(metadata.Path, $"{a.Key(Type)} '{type}' is not supported; supported are none, linear, yarn and the tensor {GgufNames.RopeFactors}");
        bool scaled = type != "none" && factor is not (0 or 1);
        if (scaled && !(float.IsFinite(factor) && factor >= 1))
            throw new CheckpointException(metadata.Path, $"{a.Key(Factor)} must be at least 1, not {factor}");
        if (divisors is not null)
            return scaled
                ? throw new CheckpointException(metadata.Path, $"{a.Key(Type)} {type} and {GgufNames.RopeFactors} together are not supported")
                : Divided(metadata, divisors, headDim, theta, context);
        if (!scaled)
            return null;
        if (type == "linear")
            return new JsonObject { ["rope_type"] = "linear", ["factor"] = factor };
        foreach (string key in (string[])["yarn_ext_factor", "yarn_beta_fast", "yarn_beta_slow", "yarn_log_multiplier"])
            if (metadata.Has(a.Key($"rope.scaling.{key}")))
                throw new CheckpointException(metadata.Path, $"{a.Key($"rope.scaling.{key}")} is not supported");
        return new JsonObject
        {
            ["rope_type"] = "yarn",
            ["factor"] = factor,
            ["original_max_position_embeddings"] = metadata.Integer(a.Key(Original), min: 1, max: int.MaxValue, absent: context),
        };
    }

    /// <summary>Adds the keys, and gives the divisors where a tensor is needed.</summary>
    /// <exception cref="ArgumentException">GGUF files have no words for it.</exception>
    public static float[]? Write(GgufMetadataBuilder metadata, GgufArchitecture a, AttentionConfig attention)
    {
        switch (attention.RopeScaling)
        {
            case null:
                return null;
            case LinearRopeScaling linear:
                metadata.Add(a.Key(Type), "linear").Add(a.Key(Factor), linear.Factor);
                return null;
            case YarnRopeScaling yarn when yarn == new YarnRopeScaling(yarn.Factor, yarn.OriginalMaxPositions, 32, 1, YarnRopeScaling.Growth(yarn.Factor)):
                metadata.Add(a.Key(Type), "yarn").Add(a.Key(Factor), yarn.Factor).Add(a.Key(Original), (uint)yarn.OriginalMaxPositions);
                return null;
            case Llama3RopeScaling llama:
                return Divisors(llama, attention.RopeDim, attention.RopeTheta);
            case LongRopeScaling both when both.Short.Equals(both.Long) && both.Short.Grows == 1:
                return [.. both.Short.Factors];
            case var other:
                throw new ArgumentException($"a GGUF file has no words for this {other.GetType().Name}");
        }
    }

    /// <summary>
    /// Llama 3's, if the divisors are its (its factor is the largest of them), else LongRoPE's with the same list for all lengths: config.json
    /// has no other words for them.
    /// </summary>
    private static JsonObject Divided(GgufMetadata metadata, float[] divisors, int headDim, float theta, long context)
    {
        if (divisors.Length != headDim / 2 || divisors.Any(static d => !(float.IsFinite(d) && d > 0)))
            throw new CheckpointException(metadata.Path, $"must be {headDim / 2} finite numbers above 0", GgufNames.RopeFactors);
        Llama3RopeScaling llama = new(divisors.Max(), Low, High, OriginalContext);
        if (llama.Factor > 1 && Divisors(llama, headDim, theta).Zip(divisors).All(static d => MathF.Abs(d.First - d.Second) <= 1e-5f * d.First))
            return new JsonObject
            {
                ["rope_type"] = "llama3",
                ["factor"] = llama.Factor,
                ["low_freq_factor"] = Low,
                ["high_freq_factor"] = High,
                ["original_max_position_embeddings"] = OriginalContext,
            };
        return new JsonObject
        {
            ["rope_type"] = "longrope",
            ["short_factor"] = List(),
            ["long_factor"] = List(),
            ["attention_factor"] = 1f,
            ["original_max_position_embeddings"] = Math.Max(context, 2),
        };

        JsonArray List() => new([.. divisors.Select(static d => (JsonNode)d)]);
    }

    /// <summary>What each pair's frequency is divided by.</summary>
    private static float[] Divisors(Llama3RopeScaling scaling, int headDim, float theta)
    {
        float[] divisors = new float[headDim / 2];
        for (int i = 0; i < divisors.Length; i++)
        {
            float frequency = 1f / MathF.Pow(theta, 2f * i / headDim);
            divisors[i] = (float)((double)frequency / scaling.Stretch(frequency, i, headDim, theta));
        }
        return divisors;
    }
}
