using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>Philox's published vectors, and what the numbers drawn from it look like.</summary>
public sealed class CounterRandomTests
{
    /// <summary>The three philox4x32-10 lines of Random123's kat_vectors: counter, key, result.</summary>
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu,
        0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u,
        0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void Blocks_are_Philox_4x32_10(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint r0, uint r1, uint r2, uint r3)
    {
        CounterRandom random = new(Seed: Join(k0, k1), Stream: Join(c2, c3));
        Assert.Equal((r0, r1, r2, r3), random.Block(Join(c0, c1)));
    }

    [Fact]
    public void A_stream_is_told_by_step_layer_and_site()
    {
        CounterRandom[] streams =
        [
            CounterRandom.At(1, 0, 0, 0), CounterRandom.At(1, 1, 0, 0), CounterRandom.At(1, 0, 1, 0), CounterRandom.At(1, 0, 0, 1),
            CounterRandom.At(2, 0, 0, 0), CounterRandom.At(1, uint.MaxValue, ushort.MaxValue, ushort.MaxValue),
        ];
        Assert.Equal(streams.Length, streams.Select(s => s.Block(0)).Distinct().Count());
        Assert.Equal(CounterRandom.At(7, 123, 4, 5), CounterRandom.At(7, 123, 4, 5));
    }

    [Fact]
    public void The_order_of_drawing_changes_nothing()
    {
        CounterRandom random = new(Seed: 3, Stream: 9);
        float[] forwards = [.. Enumerable.Range(0, 1000).Select(i => random.Normal((ulong)i))];
        float[] backwards = new float[1000];
        Parallel.For(0, 1000, i => backwards[999 - i] = random.Normal((ulong)(999 - i)));
        Assert.Equal(forwards, backwards);
    }

    private const int Draws = 1 << 18;

    /// <summary>Means of n draws are within four standard errors, σ / √n, of the truth; the seed is fixed, so this is no game of chance.</summary>
    [Fact]
    public void Uniform_fills_the_open_interval_evenly()
    {
        CounterRandom random = new(Seed: 1, Stream: 2);
        int[] bins = new int[16];
        double sum = 0;
        for (ulong n = 0; n < Draws; n++)
        {
            float u = random.Uniform(n);
            Assert.True(u is > 0 and < 1);
            sum += u;
            bins[(int)(16 * u)]++;
        }
        Assert.Equal(0.5, sum / Draws, 4 * Math.Sqrt(1.0 / 12 / Draws));
        AssertEven(bins);
    }

    [Fact]
    public void Normal_has_the_moments_of_a_normal()
    {
        CounterRandom random = new(Seed: 1, Stream: 3);
        double[] moments = new double[5];
        double neighbours = 0;
        for (ulong n = 0; n < Draws; n++)
        {
            double x = random.Normal(n);
            Assert.True(double.IsFinite(x));
            for (int k = 1; k <= 4; k++)
                moments[k] += Math.Pow(x, k) / Draws;
            neighbours += x * random.Normal(n + 1) / Draws;
        }
        double[] expected = [0, 0, 1, 0, 3], variance = [0, 1, 2, 15, 96];     // of x, x², x³, x⁴
        for (int k = 1; k <= 4; k++)
            Assert.Equal(expected[k], moments[k], 4 * Math.Sqrt(variance[k] / Draws));
        Assert.Equal(0, neighbours, 4 / Math.Sqrt(Draws));
    }

    [Fact]
    public void Below_is_even_and_stays_below()
    {
        CounterRandom random = new(Seed: 1, Stream: 4);
        int[] bins = new int[7];
        for (ulong n = 0; n < Draws; n++)
            bins[random.Below(7, n)]++;
        AssertEven(bins);
        for (ulong n = 0; n < 1000; n++)
        {
            Assert.Equal(0, random.Below(1, n));
            Assert.InRange(random.Below(long.MaxValue, n), 0, long.MaxValue - 1);
        }
        Assert.Throws<ArgumentOutOfRangeException>(() => random.Below(0, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => random.Below(-1, 0));
    }

    /// <summary>Each bin's count is binomial; within four standard deviations of its mean.</summary>
    private static void AssertEven(int[] bins)
    {
        double p = 1.0 / bins.Length;
        Assert.All(bins, count => Assert.Equal(p * Draws, count, 4 * Math.Sqrt(p * (1 - p) * Draws)));
    }

    private static ulong Join(uint low, uint high) => ((ulong)high << 32) | low;
}
