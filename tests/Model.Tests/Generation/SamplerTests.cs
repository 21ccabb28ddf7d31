using MoeFromScratch.Model.Generation;

namespace MoeFromScratch.Model.Tests.Generation;

public sealed class SamplerTests
{
    [Fact]
    public void GreedyTakesTheFirstOfTheLargest()
    {
        Sampler sampler = new(new SamplerOptions());
        Assert.Equal(1, sampler.Next([0, 3, 2, 3, 3]));
        Assert.Equal(0, sampler.Next([-5, -5, -5]));
        Assert.Equal(2, sampler.Next([float.NegativeInfinity, -1e30f, 0]));
    }

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
        Sampler sampler = new(new SamplerOptions(temperature, Seed: 3));
        int[] counts = new int[logits.Length];
        for (int i = 0; i < Draws; i++)
            counts[sampler.Next(logits)]++;
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

        static int[] Draws(ulong seed)
        {
            Sampler sampler = new(new SamplerOptions(Temperature: 1, seed));
            return [.. Enumerable.Range(0, 50).Select(_ => sampler.Next([0, 0, 0, 0]))];
        }
    }

    [Theory]
    [InlineData(-1f)]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void RefusesATemperatureThatIsNone(float temperature) =>
        Assert.Throws<ArgumentException>(() => new Sampler(new SamplerOptions(temperature)));

    [Theory]
    [InlineData(0f)]
    [InlineData(1f)]
    public void LogitsThatAreNoNumbersAreAnError(float temperature) =>
        Assert.Throws<ArithmeticException>(() => new Sampler(new SamplerOptions(temperature)).Next([1, float.NaN, 2]));
}
