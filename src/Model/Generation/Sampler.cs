using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>How the next token is chosen.</summary>
/// <param name="Temperature">Divides the logits; 0 takes the likeliest token.</param>
/// <param name="Seed">Of the draws; the same seed draws the same text.</param>
public sealed record SamplerOptions(float Temperature = 0, ulong Seed = 0);

/// <summary>Chooses tokens from logits on the host.</summary>
public sealed class Sampler
{
    private readonly SamplerOptions _options;
    private long _step;

    /// <exception cref="ArgumentException">The temperature is negative or not a number.</exception>
    public Sampler(SamplerOptions options) => _options = options.Temperature >= 0 && float.IsFinite(options.Temperature)
        ? options
        : throw new ArgumentException($"a temperature is a number of at least 0, not {options.Temperature}");

    /// <summary>The next token's id; ties go to the lower id.</summary>
    public int Next(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best])
                best = v;
        if (_options.Temperature == 0)
            return best;

        double scale = 1 / (double)_options.Temperature, max = logits[best], sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp((logit - max) * scale);
        double left = sum * CounterRandom.At(_options.Seed, _step++, layer: 0, Site).Uniform(0);
        for (int v = 0; v < logits.Length; v++)
        {
            left -= Math.Exp((logits[v] - max) * scale);
            if (left <= 0)
                return v;
        }
        return best;
    }

    /// <summary>Tells sampling apart from the other users of a seed.</summary>
    private const int Site = 1;
}
