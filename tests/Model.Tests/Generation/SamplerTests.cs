using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Generation;

public sealed class SamplerTests
{
    /// <summary>40,000 draws per temperature; each share within five standard deviations of the softmax.</summary>
    [Theory]
    [InlineData(0.5f)]
    [InlineData(1f)]
    [InlineData(3f)]
    public void DrawsFollowTheSoftmax(float temperature)
    {
        const int Draws = 40_000;
        float[] logits = [1000f, 1001f, 999.5f, 1002f, float.NegativeInfinity];
        double[] weights = [.. logits.Select(l => Math.Exp((l - 1000) / (double)temperature))];
        int[] counts = new int[logits.Length];
        foreach (int id in Sampled(new SamplerOptions(temperature, Seed: 3), logits, Draws))
            counts[id]++;
        for (int v = 0; v < logits.Length; v++)
        {
            double p = weights[v] / weights.Sum();
            Assert.InRange(counts[v] - Draws * p, -5 * Math.Sqrt(Draws * p * (1 - p)), 5 * Math.Sqrt(Draws * p * (1 - p)));
        }
    }

    [Fact]
    public void TheSeedDecides()
    {
        Assert.Equal(Draws(1), Draws(1));
        Assert.NotEqual(Draws(1), Draws(2));
        Assert.True(Draws(1).Distinct().Count() > 2);

        static int[] Draws(ulong seed) => Sampled(new SamplerOptions(Temperature: 1, seed), [0, 0, 0, 0], 50);
    }

    [Fact]
    public void ThePenaltyFallsOnEachTokenOnce()
    {
        Sampler sampler = new(new SamplerOptions(RepetitionPenalty: 2));
        sampler.See(7, 3, 7);
        sampler.See(3, 9);
        Assert.Equal([7, 3, 9], sampler.Seen.ToArray());
        Assert.Equal(2, sampler.Next().Penalty);

        Sampler without = new(new SamplerOptions());
        without.See(7);
        Assert.True(without.Seen.IsEmpty);
    }

    [Theory]
    [InlineData(-1f, 0, 1f, 0f, 1f, "temperature")]
    [InlineData(float.NaN, 0, 1f, 0f, 1f, "temperature")]
    [InlineData(float.PositiveInfinity, 0, 1f, 0f, 1f, "temperature")]
    [InlineData(1f, -1, 1f, 0f, 1f, "top-k")]
    [InlineData(1f, 0, 0f, 0f, 1f, "top-p")]
    [InlineData(1f, 0, 1.1f, 0f, 1f, "top-p")]
    [InlineData(1f, 0, 1f, -0.1f, 1f, "min-p")]
    [InlineData(1f, 0, 1f, float.NaN, 1f, "min-p")]
    [InlineData(1f, 0, 1f, 0f, 0f, "penalty")]
    public void RefusesOptionsOutOfRange(float temperature, int topK, float topP, float minP, float penalty, string part) =>
        Assert.Contains(part, Assert.Throws<ArgumentException>(() => new Sampler(new SamplerOptions(temperature, 0, topK, topP, minP, penalty))).Message, StringComparison.Ordinal);

    private static int[] Sampled(SamplerOptions options, float[] logits, int draws)
    {
        using IBackend backend = CpuBackend.Create(threads: 1);
        Tensor x = backend.From([logits.Length], logits), id = backend.New([1], DType.I32);
        Sampler sampler = new(options);
        return [.. Enumerable.Range(0, draws).Select(_ =>
        {
            backend.Sample(x, null, sampler.Next(), id);
            return backend.ToInts(id)[0];
        })];
    }
}
