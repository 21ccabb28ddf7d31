using System.Runtime.InteropServices;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>How the next token is chosen; <see cref="SamplingRule"/> says what the numbers do.</summary>
/// <param name="Temperature">Divides the logits; 0 takes the likeliest token, whatever the other options say but the penalty.</param>
/// <param name="Seed">Of the draws; the same seed draws the same text.</param>
/// <param name="TopK">Only the k likeliest tokens; 0 for all.</param>
/// <param name="TopP">Only the likeliest tokens that together hold at least this probability (Holtzman et al., 2020); 1 for all.</param>
/// <param name="MinP">Only tokens at least this share as likely as the likeliest; 0 for all.</param>
/// <param name="RepetitionPenalty">Divides positive logits of tokens already there and multiplies negative ones (Keskar et al., 2019); 1 for none.</param>
public sealed record SamplerOptions(float Temperature = 0, ulong Seed = 0, int TopK = 0, float TopP = 1, float MinP = 0, float RepetitionPenalty = 1)
{
    /// <exception cref="ArgumentException">An option is out of its range; the message names it.</exception>
    public void RequireValid()
    {
        Require(Temperature >= 0 && float.IsFinite(Temperature), "a temperature is a number of at least 0", Temperature);
        Require(TopK >= 0, "top-k is at least 0", TopK);
        Require(TopP is > 0 and <= 1, "top-p lies above 0 and at most at 1", TopP);
        Require(MinP is >= 0 and <= 1, "min-p lies between 0 and 1", MinP);
        Require(RepetitionPenalty > 0 && float.IsFinite(RepetitionPenalty), "a repetition penalty is a number above 0", RepetitionPenalty);

        static void Require(bool holds, string rule, float value)
        {
            if (!holds)
                throw new ArgumentException($"{rule}, not {value}");
        }
    }
}

/// <summary>What sampling one text remembers: how many tokens were drawn, and which ones are there. The draw itself is <see cref="IBackend.Sample"/>.</summary>
public sealed class Sampler
{
    /// <summary>Tells sampling apart from the other users of a seed.</summary>
    private const int Site = 1;

    private readonly SamplerOptions _options;
    private readonly HashSet<int> _there = [];
    private readonly List<int> _seen = [];
    private long _step;

    /// <inheritdoc cref="SamplerOptions.RequireValid"/>
    public Sampler(SamplerOptions options)
    {
        options.RequireValid();
        _options = options;
    }

    /// <summary>The tokens that the repetition penalty falls on, each once; none without a penalty.</summary>
    public ReadOnlySpan<int> Seen => CollectionsMarshal.AsSpan(_seen);

    /// <summary>Tokens of the text, a prompt's or sampled ones.</summary>
    public void See(params ReadOnlySpan<int> tokens)
    {
        if (_options.RepetitionPenalty == 1)
            return;
        foreach (int token in tokens)
            if (_there.Add(token))
                _seen.Add(token);
    }

    /// <summary>How the next token is drawn.</summary>
    public SamplingRule Next() => new(
        _options.Temperature,
        _options.Temperature == 0 ? 0 : CounterRandom.At(_options.Seed, _step++, layer: 0, Site).Uniform(0),
        _options.TopK,
        _options.TopP,
        _options.MinP,
        _options.RepetitionPenalty);
}
