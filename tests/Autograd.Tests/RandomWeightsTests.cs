using MoeFromScratch.Autograd.Weights;

namespace MoeFromScratch.Autograd.Tests;

public sealed class RandomWeightsTests
{
    [Fact]
    public void The_order_of_asking_changes_nothing()
    {
        (float[] a, float[] b) forwards = Draw("a", "b");
        (float[] b, float[] a) backwards = Draw("b", "a");
        Assert.Equal(forwards.a, backwards.a);
        Assert.Equal(forwards.b, backwards.b);
        Assert.NotEqual(forwards.a, forwards.b);

        static (float[], float[]) Draw(string first, string second)
        {
            RandomWeights weights = new(seed: 5);
            return (Get(weights, first), Get(weights, second));
        }
    }

    [Fact]
    public void A_longer_parameter_starts_like_a_shorter_one() =>
        Assert.Equal(Get(new RandomWeights(5), "a", 10), Get(new RandomWeights(5), "a", 20)[..10]);

    [Fact]
    public void Another_seed_is_another_model() =>
        Assert.NotEqual(Get(new RandomWeights(5), "a"), Get(new RandomWeights(6), "a"));

    /// <summary>Mean and standard deviation of n draws, within four standard errors.</summary>
    [Fact]
    public void An_initialiser_is_kept()
    {
        const int n = 100_000;
        float[] x = new RandomWeights(5).Get("a", [n], new Init(Mean: 3, Std: 0.02f)).Floats.ToArray();
        double mean = x.Average(v => (double)v), deviation = Math.Sqrt(x.Average(v => (v - mean) * (v - mean)));
        Assert.Equal(3, mean, 4 * 0.02 / Math.Sqrt(n));
        Assert.Equal(0.02, deviation, 4 * 0.02 / Math.Sqrt(2 * n));
        Assert.All(new RandomWeights(5).Get("a", [100], Init.Ones).Floats.ToArray(), v => Assert.Equal(1, v));
    }

    private static float[] Get(RandomWeights weights, string path, int count = 50) =>
        weights.Get(path, [count], Init.Normal(1)).Floats.ToArray();
}
