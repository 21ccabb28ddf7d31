using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

public interface IFunction
{
    static abstract float Apply(float x);
    static virtual float Twice(float x) => 2 * x;
}

public readonly struct Square : IFunction
{
    public static float Apply(float x) => x * x;
}

public interface ITile
{
    static abstract int Size { get; }
}

public readonly struct Tile16 : ITile
{
    public static int Size => 16;
}

public struct Pair
{
    public float A, B;
}

public struct F4
{
    public float X, Y, Z, W;
}

/// <summary>Kernels without a fault.</summary>
internal static class Kernels
{
    public static void Scale(ArrayView1D<float, Stride1D.Dense> x, float factor)
    {
        int i = Grid.GlobalIndex.X;
        if (i < x.Length)
            x[i] *= factor;
    }

    public static void Map<TFunction>(ArrayView<float> x, ArrayView<float> y) where TFunction : struct, IFunction
    {
        int i = Grid.IdxX * Group.DimX + Group.IdxX;
        if (i >= y.IntLength)
            return;
        y[i] = TFunction.Apply(x[i]) + TFunction.Twice(x[i]);
    }

    /// <summary>c[m, n] = Σ_k a[m, k] · b[k, n], a tile of a and of b at a time.</summary>
    public static void Gemm<TTile>(ArrayView<float> a, ArrayView<float> b, ArrayView<float> c, int m, int n, int k) where TTile : struct, ITile
    {
        ArrayView<float> ta = SharedMemory.Allocate<float>(TTile.Size * TTile.Size), tb = SharedMemory.Allocate<float>(TTile.Size * TTile.Size);
        int x = Group.IdxX, y = Group.IdxY;
        int row = Grid.IdxY * TTile.Size + y, column = Grid.IdxX * TTile.Size + x;
        float sum = 0;
        for (int k0 = 0; k0 < k; k0 += TTile.Size)
        {
            ta[y * TTile.Size + x] = row < m && k0 + x < k ? a[row * k + k0 + x] : 0;
            tb[y * TTile.Size + x] = column < n && k0 + y < k ? b[(k0 + y) * n + column] : 0;
            Group.Barrier();
            for (int i = 0; i < TTile.Size; i++)
                sum += ta[y * TTile.Size + i] * tb[i * TTile.Size + x];
            Group.Barrier();
        }
        if (row < m && column < n)
            c[row * n + column] = sum;
    }

    public static float WarpSum(float x)
    {
        for (int delta = Warp.WarpSize / 2; delta > 0; delta /= 2)
            x += Warp.ShuffleDown(x, delta);
        return x;
    }

    public static float GroupSum(float x)
    {
        ArrayView<float> partial = SharedMemory.Allocate<float>(32);
        x = WarpSum(x);
        if (Warp.IsFirstLane)
            partial[Group.LinearIndex >> 5] = x;
        Group.Barrier();
        float sum = 0;
        for (int i = 0; i < Group.DimX >> 5; i++)
            sum += partial[i];
        Group.Barrier();
        return sum;
    }

    /// <summary>sums[g] = Σ x over the group's row.</summary>
    public static void RowSums(ArrayView<float> x, ArrayView<float> sums, int columns)
    {
        int row = Grid.IdxX;
        float sum = 0;
        for (int i = Group.IdxX; i < columns; i += Group.DimX)
            sum += x[row * columns + i];
        float total = 1 + GroupSum(sum);
        if (Group.IsFirstThread)
            sums[row] = total - 1;
    }

    /// <summary>Inclusive scan within a group, by halving distances.</summary>
    public static void Scan(ArrayView<int> x, ArrayView<int> y)
    {
        ArrayView<int> s = SharedMemory.GetDynamic<int>();
        int i = Group.IdxX;
        s[i] = x[i];
        Group.Barrier();
        for (int d = 1; d < Group.DimX; d <<= 1)
        {
            int add = i >= d ? s[i - d] : 0;
            Group.Barrier();
            s[i] += add;
            Group.Barrier();
        }
        y[i] = s[i];
    }

    /// <summary>counts[x[i]] += 1</summary>
    public static void Histogram(ArrayView<int> x, ArrayView<int> counts)
    {
        int i = Grid.GlobalIndex.X;
        if (i < x.Length)
            Atomic.Add(ref counts[x[i]], 1);
    }

    private static void Accumulate(ref Pair sum, float x)
    {
        sum.A += x;
        sum.B += x * x;
    }

    private static void Spread(ref float x)
    {
        x = Warp.Shuffle(x, 0);
        Group.Barrier();
        x += 1;
    }

    /// <summary>References to variables, kept over places to wait: y[i] = (x of the warp's first lane + 1, Σ x²).</summary>
    public static void References(ArrayView<float> x, ArrayView<Pair> y)
    {
        int i = Group.IdxX;
        Pair p = default;
        Accumulate(ref p, x[i]);
        ref float a = ref p.A;
        Spread(ref a);
        ref float chosen = ref (i < 1000 ? ref p.B : ref p.A);
        chosen += WarpSum(chosen) * 0;
        Group.Barrier();
        chosen += 1;
        p.B -= 1;
        y[i] = p;
    }

    /// <summary>Four floats at a time, sixteen-bit numbers, long indices.</summary>
    public static void Wide(ArrayView<float> x, ArrayView<ushort> halves, ArrayView<float> y)
    {
        int i = Grid.GlobalLinearIndex;
        ArrayView<F4> x4 = x.Cast<F4>(), y4 = y.AsAligned(16).Cast<F4>();
        if (i < x4.Length)
        {
            F4 v = x4[(long)i];
            v.X += Interop.IntAsFloat((uint)halves[i] << 16);
            y4[i] = v;
        }
        if (i < halves.Length)
            halves[i] = (ushort)(Interop.FloatAsInt(x[i]) >> 16);
    }

    public static void Lanes(ArrayView<int> up, ArrayView<int> down, ArrayView<int> xor, ArrayView<int> any)
    {
        int i = Group.IdxX, lane = Warp.LaneIdx;
        up[i] = Warp.ShuffleUp(lane, 1, 8);
        down[i] = Warp.ShuffleDown(lane, 3);
        xor[i] = Warp.ShuffleXor(lane, 5);
        any[i] = Group.BarrierPopCount(i % 3 == 0) + (Group.BarrierAnd(i >= 0) ? 1000 : 0) + (Group.BarrierOr(i < 0) ? 5000 : 0)
            + Group.Broadcast(i * 10000, 2) + Warp.Broadcast(i, 4) * 0;
    }

    /// <summary>Lanes of a warp hand data through memory with the warp's own barrier between.</summary>
    public static void WarpNeighbours(ArrayView<int> y)
    {
        ArrayView<int> s = SharedMemory.Allocate<int>(64);
        int i = Group.IdxX;
        s[i] = i;
        Warp.Barrier();
        int next = s[(i & ~31) | (i + 1 & 31)];
        Warp.Barrier();
        s[i] = next;
        Warp.Barrier();
        y[i] = s[i ^ 1];
    }
}
