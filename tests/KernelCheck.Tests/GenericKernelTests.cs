using System.Numerics;
using ILGPU;
using ILGPU.Runtime;
using Half = ILGPU.Half;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>A number with its arithmetic as static abstract members, as functors of the backends take it.</summary>
public interface INumberLike<TSelf> where TSelf : struct, INumberLike<TSelf>
{
    static abstract TSelf Of(float x);
    static abstract TSelf operator +(TSelf a, TSelf b);
    static abstract TSelf operator *(TSelf a, TSelf b);
    static abstract TSelf operator -(TSelf a);
    static virtual TSelf MulAdd(TSelf a, TSelf b, TSelf c) => a * b + c;
    float Value { get; }
}

public readonly struct One(float value) : INumberLike<One>
{
    public float Value { get; } = value;
    public static One Of(float x) => new(x);
    public static One operator +(One a, One b) => new(a.Value + b.Value);
    public static One operator *(One a, One b) => new(a.Value * b.Value);
    public static One operator -(One a) => new(-a.Value);
}

public interface IPolynomial
{
    static abstract V Apply<V>(V x) where V : struct, INumberLike<V>;
}

public readonly struct Cubic : IPolynomial
{
    public static V Apply<V>(V x) where V : struct, INumberLike<V> => -V.MulAdd(Square(x), x, V.Of(1));

    private static V Square<V>(V x) where V : struct, INumberLike<V> => x * x;
}

/// <summary>An accumulator with a state of its own.</summary>
public interface IReducer
{
    void Add(float x);
    float Result { get; }
}

public struct Parameters
{
    public int Rows, Columns;
    public ArrayView<float> X;
}

public struct Maximum : IReducer
{
    private float _best;
    private int _seen;

    public void Add(float x)
    {
        _best = _seen++ == 0 ? x : MathF.Max(_best, x);
    }

    public readonly float Result => _best;
}

internal static class GenericKernels
{
    public static void Polynomial<TPolynomial>(ArrayView<float> x, ArrayView<float> y) where TPolynomial : struct, IPolynomial
    {
        for (int i = Grid.GlobalLinearIndex; i < x.Length; i += Grid.DimX * Group.DimX)
            y[i] = TPolynomial.Apply(One.Of(x[i])).Value;
    }

    public static void Reduce<TReducer>(Parameters p, ArrayView<float> y) where TReducer : struct, IReducer
    {
        TReducer r = default;
        for (int i = 0; i < p.Columns; i++)
        {
            if ((i & 1) != 0)
                Group.Barrier();
            r.Add(p.X[Group.IdxX * p.Columns + i]);
        }
        p.Columns = 0;
        Group.Barrier();
        y[Group.IdxX] = r.Result + p.Columns;
    }

    /// <summary>Kernels over generic math.</summary>
    public static void Sum<T>(ArrayView<T> x, ArrayView<T> y) where T : unmanaged, INumber<T>
    {
        T sum = T.Zero;
        for (int i = 0; i < x.IntLength; i++)
            sum += x[i] > T.Zero ? x[i] : -x[i];
        y[0] = sum;
    }

    /// <summary>A switch, a nested loop with early ends, and a place to wait within both.</summary>
    public static void Control(ArrayView<int> y, int rounds)
    {
        int sum = 0, i = Group.IdxX;
        for (int round = 0; round < rounds; round++)
        {
            switch (round)
            {
                case 0:
                    sum += 1;
                    break;
                case 1:
                    sum += Warp.Shuffle(i, 3);
                    continue;
                case 2:
                    for (int k = 0; ; k++)
                    {
                        if (k > 4)
                            break;
                        Group.Barrier();
                        sum += 10;
                    }
                    break;
                default:
                    sum += Pick(round) + (Group.BarrierOr(i == 7) ? 1000 : 0);
                    break;
            }
            sum += 100000;
        }
        y[i] = sum;
    }

    private static int Pick(int round)
    {
        Group.Barrier();
        if (round == 3)
            return 1;
        return Warp.Broadcast(round, 2);
    }

    public static void Many(ArrayView<int> a, ArrayView<int> b, ArrayView<int> c, int d, int e, int f, int g, float h, long i, Half j, uint k, double l, int m,
        ArrayView<int> y) =>
        y[Group.IdxX] = a[0] + b[0] + c[0] + d + e + f + g + (int)h + (int)i + (int)(float)j + (int)k + (int)l + m;
}

/// <summary>Generic kernels, functors with static abstract members, generic math, struct parameters, up to fourteen parameters.</summary>
public class GenericKernelTests
{
    [Fact]
    public void Functors()
    {
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> x = device.New(0f, 1, 2, 3), y = device.Raw<float>(4);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(GenericKernels.Polynomial<Cubic>)((1, 2), x.View, y.View);
        Assert.Equal([-1, -2, -9, -28], y.GetAsArray1D());
    }

    [Fact]
    public void StructsWithState()
    {
        using Device device = new();
        float[] data = Device.Noise(3 * 5, 9);
        using MemoryBuffer1D<float, Stride1D.Dense> x = device.New(data), y = device.Raw<float>(3);
        device.Accelerator.LoadStreamKernel<Parameters, ArrayView<float>>(GenericKernels.Reduce<Maximum>)(
            (1, 3), new Parameters { Rows = 3, Columns = 5, X = x.View }, y.View);
        Assert.Equal(data.Chunk(5).Select(row => row.Max()), y.GetAsArray1D());
    }

    [Fact]
    public void GenericMath()
    {
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> x = device.New(1f, -2, 4), y = device.Raw<float>(1);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(GenericKernels.Sum<float>)((1, 1), x.View, y.View);
        Assert.Equal([7], y.GetAsArray1D());
    }

    [Fact]
    public void WaitsWithinSwitchesAndLoops()
    {
        using Device device = new();
        using MemoryBuffer1D<int, Stride1D.Dense> y = device.Raw<int>(64);
        device.Accelerator.LoadStreamKernel<ArrayView<int>, int>(GenericKernels.Control)((1, 64), y.View, 5);
        Assert.Equal(Enumerable.Range(0, 64).Select(i => 1 + (i / 32 * 32 + 3) + 50 + 1 + 1000 + 4 + 1000 + 400000), y.GetAsArray1D());
    }

    [Fact]
    public void FourteenParameters()
    {
        using Device device = new();
        using MemoryBuffer1D<int, Stride1D.Dense> a = device.New(1), b = device.New(2), c = device.New(3), y = device.Raw<int>(1);
        var kernel = device.Accelerator.LoadStreamKernel<ArrayView<int>, ArrayView<int>, ArrayView<int>, int, int, int, int, float, long, Half, uint, double, int,
            ArrayView<int>>(GenericKernels.Many);
        kernel((1, 1), a.View, b.View, c.View, 4, 5, 6, 7, 8f, 9L, (Half)10f, 11u, 12.0, 13, y.View);
        Assert.Equal([91], y.GetAsArray1D());
    }
}
