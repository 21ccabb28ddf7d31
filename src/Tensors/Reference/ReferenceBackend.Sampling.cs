namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void Sample(Tensor logits, Tensor? seen, in SamplingRule rule, Tensor id)
    {
        Check.Sampling(logits, seen, rule, id);
        Span<float> l = logits.Floats;
        if (seen is not null)
            foreach (int v in seen.Ints)
                l[v] = l[v] > 0 ? l[v] / rule.Penalty : l[v] * rule.Penalty;

        int likeliest = 0;
        foreach ((int v, float logit) in l.ToArray().Index())
        {
            likeliest = logit > l[likeliest] ? v : likeliest;
            if (float.IsNaN(logit))
            {
                id.Ints[0] = -1;
                return;
            }
        }
        id.Ints[0] = rule.Temperature == 0 ? likeliest : Draw(l, l[likeliest], rule) ?? likeliest;
    }

    private static int? Draw(ReadOnlySpan<float> l, float max, in SamplingRule rule)
    {
        double temperature = rule.Temperature, sum = 0;
        float[] falling = [.. l.ToArray().OrderDescending()];
        float least = rule.TopK == 0 || rule.TopK > l.Length ? float.NegativeInfinity : falling[rule.TopK - 1];
        foreach (float logit in l)
            sum += Weight(logit);

        if (rule.TopP < 1)
        {
            double part = 0;
            int count = 0;
            while (count < falling.Length && part < rule.TopP * sum)
                part += Weight(falling[count++]);
            least = MathF.Max(least, falling[count - 1]);
        }
        least = MathF.Max(least, max + rule.Reach);

        sum = 0;
        foreach (float logit in l)
            sum += Weight(logit);
        double running = 0;
        for (int v = 0; v < l.Length; v++)
            if ((running += Weight(l[v])) > rule.Uniform * sum)
                return v;
        return null;

        double Weight(float logit) => logit >= least ? Math.Exp((logit - max) / temperature) : 0;
    }
}
