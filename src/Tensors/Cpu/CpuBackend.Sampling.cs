using System.Numerics.Tensors;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void Sample(Tensor logits, Tensor? seen, in SamplingRule rule, Tensor id)
    {
        Check.Sampling(logits, seen, rule, id);
        Span<float> l = logits.Floats;
        if (seen is not null)
            foreach (int v in seen.Ints)
                l[v] = l[v] > 0 ? l[v] / rule.Penalty : l[v] * rule.Penalty;

        float max = TensorPrimitives.Max(l);
        int likeliest = float.IsNaN(max) ? -1 : l.IndexOf(max);
        id.Ints[0] = likeliest < 0 || rule.Temperature == 0 ? likeliest : Draw(l, max, rule) ?? likeliest;
    }

    /// <summary>Null where no weight is above 0, as among infinite logits.</summary>
    private int? Draw(ReadOnlySpan<float> l, float max, in SamplingRule rule)
    {
        float* scratch = _scratch.Get<float>(2L * l.Length);
        float least = rule.TopK > 0 && rule.TopK < l.Length ? Highest(l, rule.TopK, (ulong*)scratch) : float.NegativeInfinity;
        Span<float> w = new(scratch, l.Length), work = new(scratch + l.Length, l.Length);
        TensorPrimitives.Subtract(l, max, w);
        TensorPrimitives.Divide(w, rule.Temperature, w);
        TensorPrimitives.Exp(w, w);
        Clear(w, l, least);
        double sum = Sum(w);
        if (rule.TopP < 1)
            Clear(w, w, LeastOfTopP(w, work, rule.TopP, sum));
        if (rule.MinP > 0)
            Clear(w, l, max + rule.Reach);

        double running = 0, target = rule.Uniform * Sum(w);
        for (int v = 0; v < w.Length; v++)
            if ((running += w[v]) > target)
                return v;
        return null;
    }

    /// <summary>The k-th highest logit.</summary>
    private static float Highest(ReadOnlySpan<float> l, int k, ulong* heap)
    {
        fixed (float* all = l)
        {
            Ranking ranking = new(all, l.Length, heap);
            while (--k > 0)
                ranking.Next();
            return all[ranking.Next()];
        }
    }

    /// <summary>The weight with which the likeliest tokens reach the part p of the sum.</summary>
    private static float LeastOfTopP(ReadOnlySpan<float> w, Span<float> work, float p, double sum)
    {
        // Tokens below this weight hold less than 1 − p together, so the one that reaches p is not among them: few are left to sort.
        float least = (float)(0.999 * (1 - p) * sum / w.Length);
        int count = 0;
        foreach (float weight in w)
            if (weight >= least)
                work[count++] = weight;
        Span<float> left = work[..count];
        left.Sort();
        double part = 0;
        for (int i = count - 1; i > 0; i--)
            if ((part += left[i]) >= p * sum)
                return left[i];
        return left[0];
    }

    /// <summary>w[v] = 0 where key[v] is below the least.</summary>
    private static void Clear(Span<float> w, ReadOnlySpan<float> key, float least)
    {
        for (int v = 0; v < w.Length; v++)
            w[v] = key[v] < least ? 0 : w[v];
    }

    private static double Sum(ReadOnlySpan<float> x)
    {
        double sum = 0;
        foreach (float value in x)
            sum += value;
        return sum;
    }
}
