using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>How the next token is chosen. The steps apply in the order of the parameters after the seed, as in transformers.</summary>
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

/// <summary>Chooses tokens from logits on the host. Allocates nothing once its buffers are as large as the vocabulary.</summary>
public sealed class Sampler
{
    /// <summary>Tells sampling apart from the other users of a seed.</summary>
    private const int Site = 1;

    private readonly SamplerOptions _options;
    private float[] _logits = [];
    private int[] _ids = [];
    private long _step;

    /// <inheritdoc cref="SamplerOptions.RequireValid"/>
    public Sampler(SamplerOptions options)
    {
        options.RequireValid();
        _options = options;
    }

    /// <summary>The next token's id; ties go to the lower id.</summary>
    /// <param name="context">The tokens so far, for the repetition penalty.</param>
    /// <exception cref="ArithmeticException">A logit is NaN: the model is broken.</exception>
    public int Next(ReadOnlySpan<float> logits, ReadOnlySpan<int> context = default)
    {
        foreach (float logit in logits)
            if (float.IsNaN(logit))
                throw new ArithmeticException("the model's logits are not numbers (NaN): its weights are damaged");
        if (_logits.Length < logits.Length)
            (_logits, _ids) = (new float[logits.Length], new int[logits.Length]);
        Span<float> left = _logits.AsSpan(0, logits.Length);
        logits.CopyTo(left);
        Penalise(logits, left, context);
        if (_options.Temperature == 0)
            return Likeliest(left);

        Span<int> ids = _ids.AsSpan(0, logits.Length);
        for (int i = 0; i < ids.Length; i++)
            ids[i] = i;
        int count = Filter(left, ids);
        return Draw(left[..count], ids[..count]);
    }

    private void Penalise(ReadOnlySpan<float> logits, Span<float> penalised, ReadOnlySpan<int> context)
    {
        if (_options.RepetitionPenalty == 1)
            return;
        foreach (int id in context)   // from the original logits, so that a token counts once however often it is there
            penalised[id] = logits[id] > 0 ? logits[id] / _options.RepetitionPenalty : logits[id] * _options.RepetitionPenalty;
    }

    private static int Likeliest(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best])
                best = v;
        return best;
    }

    /// <summary>Moves the tokens that may be drawn to the front; returns how many they are.</summary>
    private int Filter(Span<float> logits, Span<int> ids)
    {
        if (_options.TopK == 0 && _options.TopP == 1 && _options.MinP == 0)
            return logits.Length;

        // Falling logits; a stable order among equals, since the sort itself promises none.
        foreach (ref float logit in logits)
            logit = -logit;
        logits.Sort(ids, static (a, b) => a.CompareTo(b));
        for (int i = 0; i < logits.Length; i++)
            logits[i] = -logits[i];
        for (int start = 0, end; start < logits.Length; start = end)
        {
            for (end = start + 1; end < logits.Length && logits[end] == logits[start];)
                end++;
            ids[start..end].Sort();
        }

        int count = _options.TopK == 0 ? logits.Length : Math.Min(_options.TopK, logits.Length);
        if (_options.TopP < 1)
            count = TopP(logits[..count]);
        double least = logits[0] + _options.Temperature * Math.Log(_options.MinP);
        while (count > 1 && logits[count - 1] < least)
            count--;
        return count;
    }

    /// <summary>How many of the falling logits hold the probability top-p, the one that reaches it included.</summary>
    private int TopP(ReadOnlySpan<float> logits)
    {
        double all = 0, sum = 0;
        foreach (float logit in logits)
            all += Weight(logit, logits[0]);
        for (int i = 0; i < logits.Length; i++)
            if ((sum += Weight(logits[i], logits[0])) >= _options.TopP * all)
                return i + 1;
        return logits.Length;
    }

    private int Draw(ReadOnlySpan<float> logits, ReadOnlySpan<int> ids)
    {
        float max = logits[Likeliest(logits)];
        double sum = 0;
        foreach (float logit in logits)
            sum += Weight(logit, max);
        double left = sum * CounterRandom.At(_options.Seed, _step++, layer: 0, Site).Uniform(0);
        for (int i = 0; i < logits.Length; i++)
            if ((left -= Weight(logits[i], max)) <= 0)
                return ids[i];
        return ids[Likeliest(logits)];
    }

    /// <summary>Unnormalised probability.</summary>
    private double Weight(float logit, float max) => Math.Exp((logit - max) / (double)_options.Temperature);
}
