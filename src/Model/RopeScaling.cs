using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model;

/// <summary>How rotary frequencies are stretched for contexts longer than the model was first trained on.</summary>
public abstract record RopeScaling
{
    /// <summary>The new frequency of a pair.</summary>
    /// <param name="frequency">θ^(−2i/K)</param>
    /// <param name="pair">i</param>
    public abstract float Stretch(float frequency, int pair, int headDim, float theta);

    /// <summary>What the columns of queries and keys that turn are multiplied by.</summary>
    public virtual float Magnitude => 1;

    /// <summary>What attention's scores are multiplied by besides.</summary>
    public virtual float ScoreGrowth => 1;

    /// <summary>The one that holds in a context of so many tokens: most are the same everywhere.</summary>
    public virtual RopeScaling In(int context) => this;

    /// <summary>All that <see cref="In"/> can give.</summary>
    public virtual IReadOnlyList<RopeScaling> Forms() => [this];

    /// <summary>How many pairs it is made for; null for any.</summary>
    public virtual int? Pairs => null;
}

/// <summary>All positions are divided by the factor (Chen et al., 2023, arXiv 2306.15595).</summary>
public sealed record LinearRopeScaling(float Factor) : RopeScaling
{
    public override float Stretch(float frequency, int pair, int headDim, float theta) => frequency / Factor;
}

/// <summary>
/// Llama 3.1's: with n = original context · frequency / 2π turns in the original context, pairs of more than HighFrequencyFactor
/// turns stay, those of fewer than LowFrequencyFactor are divided by the factor, and between them the two are mixed.
/// </summary>
public sealed record Llama3RopeScaling(float Factor, float LowFrequencyFactor, float HighFrequencyFactor, int OriginalMaxPositions) : RopeScaling
{
    public override float Stretch(float frequency, int pair, int headDim, float theta)
    {
        double turns = OriginalMaxPositions * (double)frequency / (2 * Math.PI);
        double kept = Math.Clamp((turns - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor), 0, 1);
        return (float)(kept * frequency + (1 - kept) * frequency / Factor);
    }
}

/// <summary>
/// YaRN (Peng et al., 2023, arXiv 2309.00071): pairs up to the one that makes BetaFast turns in the original context stay, those
/// from the one that makes BetaSlow are divided by the factor, with a ramp over the pairs between; queries and keys grow.
/// </summary>
/// <param name="AttentionFactor">What they grow by; 0.1 ln factor + 1 where nothing else is said.</param>
/// <param name="Truncate">Whether the ramp begins and ends at whole pairs, the next ones outside (gpt-oss: false).</param>
public sealed record YarnRopeScaling(
    float Factor, int OriginalMaxPositions, float BetaFast, float BetaSlow, float AttentionFactor, bool Truncate = true) : RopeScaling
{
    /// <summary>DeepSeek's mscale_all_dim: with a value other than 0, scores grow by <see cref="Growth"/>(Factor, it)².</summary>
    public float MscaleAllDim { get; init; }

    public override float Magnitude => AttentionFactor;

    public override float ScoreGrowth => MscaleAllDim == 0 ? 1 : Growth(Factor, MscaleAllDim) * Growth(Factor, MscaleAllDim);

    public override float Stretch(float frequency, int pair, int headDim, float theta)
    {
        double low = PairOf(BetaFast), high = PairOf(BetaSlow);
        if (Truncate)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, headDim - 1));
        double divided = Math.Clamp((pair - low) / (high == low ? 0.001 : high - low), 0, 1);
        return (float)(divided * frequency / Factor + (1 - divided) * frequency);

        double PairOf(double turns) => headDim * Math.Log(OriginalMaxPositions / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
    }

    /// <summary>0.1 · mscale · ln factor + 1.</summary>
    public static float Growth(float factor, float mscale = 1) => factor <= 1 ? 1 : 0.1f * mscale * MathF.Log(factor) + 1;
}

/// <summary>
/// LongRoPE (Ding et al., 2024, arXiv 2402.13753): a searched factor for each pair, one list for contexts up to the original
/// length and one for longer ones. Keys in a cache stay turned as they were, so a text that grows beyond the original length is
/// computed anew, once, and every token is what one pass over the whole text would give (Phi's code does so too).
/// </summary>
public sealed record LongRopeScaling(PairwiseRopeScaling Short, PairwiseRopeScaling Long, int OriginalMaxPositions) : RopeScaling
{
    public override RopeScaling In(int context) => context > OriginalMaxPositions ? Long : Short;

    public override IReadOnlyList<RopeScaling> Forms() => [Short, Long];

    public override int? Pairs => Short.Pairs == Long.Pairs ? Short.Pairs : 0;

    public override float Stretch(float frequency, int pair, int headDim, float theta) =>
        throw new InvalidOperationException("LongRoPE has frequencies for short contexts and for long ones");

    /// <summary>√(1 + ln factor / ln original): what queries and keys grow by where nothing else is said.</summary>
    public static float Growth(double factor, int original) => factor <= 1 ? 1 : (float)Math.Sqrt(1 + Math.Log(factor) / Math.Log(original));
}

/// <summary>Each pair has a factor that its frequency is divided by.</summary>
/// <param name="Grows">What the columns that turn are multiplied by.</param>
public sealed record PairwiseRopeScaling(IReadOnlyList<float> Factors, float Grows) : RopeScaling
{
    public override float Magnitude => Grows;

    public override int? Pairs => Factors.Count;

    public override float Stretch(float frequency, int pair, int headDim, float theta) => frequency / Factors[pair];

    public bool Equals(PairwiseRopeScaling? other) => other is not null && Grows == other.Grows && Factors.SequenceEqual(other.Factors);

    public override int GetHashCode() => HashCode.Combine(Grows, Factors.Count);
}

/// <summary>How far the pairs of a head turn per position.</summary>
/// <param name="Frequencies">[R/2]</param>
/// <param name="Magnitude">What the columns that turn are multiplied by.</param>
public readonly record struct Rotary(Tensor Frequencies, float Magnitude);
