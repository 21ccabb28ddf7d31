using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>Vectors of every width do what one lane does, and one lane does what double arithmetic says.</summary>
public sealed unsafe class LanesTests
{
    private const int Samples = 4096;

    [Fact]
    public void Every_16_bit_pattern_widens_exactly_on_every_width()
    {
        Widen<Lanes4>();
        Widen<Lanes8>();
        Widen<Lanes16>();
    }

    [Fact]
    public void Exp_is_within_one_ulp_and_right_at_the_ends()
    {
        Exp<Lanes4>();
        Exp<Lanes8>();
        Exp<Lanes16>();
    }

    [Fact]
    public void Decay_is_within_one_ulp_and_0_at_the_end()
    {
        Decay<Lanes1>();
        Decay<Lanes4>();
        Decay<Lanes8>();
        Decay<Lanes16>();
    }

    [Fact]
    public void Arithmetic_agrees_with_one_lane()
    {
        Arithmetic<Lanes4>();
        Arithmetic<Lanes8>();
        Arithmetic<Lanes16>();
    }

    [Fact]
    public void Every_functor_agrees_with_one_lane()
    {
        foreach (Type functor in typeof(IUnary).Assembly.GetTypes().Where(t => t.IsValueType && t.IsAssignableTo(typeof(IUnary))))
            foreach (Type lanes in new[] { typeof(Lanes4), typeof(Lanes8), typeof(Lanes16) })
                typeof(LanesTests).GetMethod(nameof(Functor), System.Reflection.BindingFlags.Static | System.Reflection.BindingFlags.NonPublic)!
                    .MakeGenericMethod(functor, lanes)
                    .Invoke(null, System.Reflection.BindingFlags.DoNotWrapExceptions, null, null, null);
    }

    private static void Widen<V>() where V : struct, ILanes<V>
    {
        ushort* bits = stackalloc ushort[16];
        float* wide = stackalloc float[16], finite = stackalloc float[16];
        for (int first = 0; first < 65536; first += V.Count)
        {
            for (int i = 0; i < V.Count; i++)
                bits[i] = (ushort)(first + i);
            V.LoadBF16(bits).Store(wide);
            for (int i = 0; i < V.Count; i++)
                Assert.Equal(BitConverter.SingleToUInt32Bits(DTypes.FromBF16(bits[i])), BitConverter.SingleToUInt32Bits(wide[i]));
            V.LoadFiniteF16(bits).Store(finite);
            Assert.Equal((first & 0x7C00) != 0x7C00, F16.IsFinite(bits, 0, V.Count));   // a vector's patterns share their exponent
            V.LoadF16(bits).Store(wide);
            for (int i = 0; i < V.Count; i++)
            {
                float expected = DTypes.FromF16(bits[i]);
                Assert.Equal(BitConverter.SingleToUInt32Bits(float.IsFinite(expected) ? expected : finite[i]), BitConverter.SingleToUInt32Bits(finite[i]));
                Assert.Equal(float.IsFinite(expected), F16.IsFinite(bits, i, 1));
                if (float.IsNaN(expected))
                    Assert.True(float.IsNaN(wide[i]));
                else
                    Assert.Equal(BitConverter.SingleToUInt32Bits(expected), BitConverter.SingleToUInt32Bits(wide[i]));
            }
        }
    }

    private static void Exp<V>() where V : struct, ILanes<V>
    {
        float* x = stackalloc float[16], y = stackalloc float[16];
        for (int first = -100_000; first < 100_000; first += V.Count)
        {
            for (int i = 0; i < V.Count; i++)
                x[i] = (first + i) * 8.7e-4f;
            V.Exp(V.Load(x)).Store(y);
            for (int i = 0; i < V.Count; i++)
                Assert.True(Math.Abs(y[i] - Math.Exp(x[i])) <= Ulp(y[i]), $"e^{x[i]} is {Math.Exp(x[i])}, not {y[i]}");
        }
        foreach (float special in new[] { float.NegativeInfinity, float.PositiveInfinity, float.NaN, 0, -0f, 1e-30f, -87.4f, -95, -103.9f, -104.5f, -1e30f, 88.72f, 88.73f, 1e30f })
        {
            V.Exp(V.Of(special)).Store(y);
            float expected = MathF.Exp(special);
            Assert.True(float.IsNaN(expected) ? float.IsNaN(y[0]) : y[0] == expected || Math.Abs(y[0] - expected) <= Ulp(expected), $"e^{special} is {expected}, not {y[0]}");
        }
    }

    private static void Decay<V>() where V : struct, ILanes<V>
    {
        float* y = stackalloc float[16];
        for (int i = 0; i <= 100_000; i++)
        {
            float x = i * -8.7e-4f;
            LanesMath.Decay(V.Of(x)).Store(y);
            Assert.True(Math.Abs(y[0] - Math.Exp(x)) <= Ulp(y[0]), $"e^{x} is {Math.Exp(x)}, not {y[0]}");
        }
        foreach (float far in new[] { -88.1f, -104, -1e30f, float.NegativeInfinity })
        {
            LanesMath.Decay(V.Of(far)).Store(y);
            Assert.Equal(0, y[0]);
        }
        LanesMath.Decay(V.Of(float.NaN)).Store(y);
        Assert.True(float.IsNaN(y[0]));
    }

    private static void Arithmetic<V>() where V : struct, ILanes<V>
    {
        Random random = new(1);
        float* a = stackalloc float[16], b = stackalloc float[16], y = stackalloc float[16];
        for (int round = 0; round < 100; round++)
        {
            float sum = 0, max = float.NegativeInfinity;
            for (int i = 0; i < V.Count; i++)
            {
                a[i] = random.Next(-64, 64) / 8f;
                b[i] = random.Next(1, 64) / 8f;
                sum += a[i];
                max = MathF.Max(max, a[i]);
            }
            V va = V.Load(a), vb = V.Load(b);
            Assert.Equal(sum, V.Sum(va));
            Assert.Equal(max, V.HorizontalMax(va));
            Same(V.Higher(va, vb), MathF.Max);
            Same(va + vb, (p, q) => p + q);
            Same(va - vb, (p, q) => p - q);
            Same(va * vb, (p, q) => p * q);
            Same(va / vb, (p, q) => p / q);
            Same(-va, (p, q) => -p);
            Same(V.MulAdd(va, vb, va), (p, q) => p * q + p);
            Same(V.Max(va, vb), MathF.Max);
            Same(V.Min(va, vb), MathF.Min);
            Same(V.Abs(va), (p, q) => MathF.Abs(p));
            Same(V.Sqrt(vb), (p, q) => MathF.Sqrt(q));
            Same(V.IfPositive(va, vb, -vb), (p, q) => p > 0 ? q : -q);
            Same(V.PowerOfTwo(V.Of(round - 50)), (p, q) => MathF.ScaleB(1, round - 50));
        }

        void Same(V actual, Func<float, float, float> expected)
        {
            actual.Store(y);
            for (int i = 0; i < V.Count; i++)
                Assert.Equal(expected(a[i], b[i]), y[i]);
        }
    }

    private static void Functor<TOp, V>() where TOp : struct, IUnary where V : struct, ILanes<V>
    {
        float* x = stackalloc float[16], y = stackalloc float[16], slope = stackalloc float[16];
        for (int first = 0; first < Samples; first += V.Count)
        {
            for (int i = 0; i < V.Count; i++)
                x[i] = (first + i - Samples / 2 + 0.5f) * (24f / Samples);
            TOp.Apply(V.Load(x)).Store(y);
            TOp.Slope(V.Load(x)).Store(slope);
            for (int i = 0; i < V.Count; i++)
            {
                Close(TOp.Apply(new Lanes1(x[i])).Value, y[i], typeof(TOp), x[i]);
                Close(TOp.Slope(new Lanes1(x[i])).Value, slope[i], typeof(TOp), x[i]);
            }
        }
    }

    private static void Close(float expected, float actual, Type what, float x) =>
        Assert.True(Math.Abs(expected - actual) <= 2e-6 * Math.Max(1, Math.Abs(expected)), $"{what.Name} of {x}: {actual}, on one lane {expected}");

    private static double Ulp(float x) => float.IsInfinity(x) ? 0 : (double)MathF.BitIncrement(MathF.Abs(x)) - MathF.Abs(x);
}
