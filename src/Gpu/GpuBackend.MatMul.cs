using ILGPU;
using ILGPU.Runtime;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    /// <summary>Rows of x up to which reading the weights is all the work.</summary>
    private const int FewRows = 8;

    private LinearsArgs _linears;
    private DType _linearsType;
    private (Storage Storage, long At) _linearsInput;

    public void Linear(Tensor x, Tensor w, Tensor y)
    {
        Check.F32(x);
        Check.Weight(w, w.Rows, x.Cols);
        Check.Matrix(y, x.Rows, w.Rows);
        if (x.Rows <= FewRows)
            LinearOfFew(x, w, y);
        else
            Multiply<DenseRows, PlainInput>(w.DType, new ProductArgs
            {
                X = View<float>(x),
                W = Elements(w),
                Y = View<float>(y),
                M = x.Rows,
                N = w.Rows,
                K = x.Cols,
                IsAligned = IsAligned(x, x.Cols) && IsAligned(w, x.Cols),
            }, Tiles(x.Rows));
    }

    public void GroupedLinear(Tensor x, SlotRange range, ReadOnlySpan<Tensor> w, Tensor y)
    {
        Check.F32(x);
        SlotRange readable = Readable(range);
        Check.Experts(readable, x.Rows, w.Length);
        Check.Matrix(y, x.Rows, y.Cols);
        foreach (Tensor one in w)
            Check.Weight(one, y.Cols, x.Cols);
        if (w.Length == 0 || x.Rows == 0)
            return;
        using Stacked stacked = Stack(w);
        Grouped<PlainInput>(stacked, range, new ProductArgs { X = View<float>(x), Y = View<float>(y), N = y.Cols, K = x.Cols, IsAligned = IsAligned(x, x.Cols) }, x.Rows);
    }

    /// <summary>One product per expert of the range: tiles are laid over the segments in their order, at most one of each not full.</summary>
    private void Grouped<TInput>(in Stacked w, in SlotRange range, ProductArgs args, int rows) where TInput : struct, IProductInput
    {
        args.W = w.View;
        args.WExpert = w.Distance;
        args.Slots = Slots(range, rows);
        args.M = rows;
        args.IsAligned &= w.IsAligned && args.K % 4 == 0;
        Multiply<ExpertRows, TInput>(w.DType, args, Tiles(rows) + (range.Offsets is null ? 0 : range.Count));
    }

    private static int Tiles(int rows) => (rows + ProductTile.M - 1) / ProductTile.M;

    private void Multiply<TRows, TInput>(DType weights, ProductArgs args, int tiles)
        where TRows : struct, IProductRows
        where TInput : struct, IProductInput
    {
        Index3D grid = new((args.N + ProductTile.N - 1) / ProductTile.N, tiles, 1);
        switch (weights)
        {
            case DType.F32: Launch<ProductKernel<TRows, TInput, F32>, ProductArgs>(grid, ProductTile.Threads, args); break;
            case DType.BF16: Launch<ProductKernel<TRows, TInput, BF16>, ProductArgs>(grid, ProductTile.Threads, args); break;
            default: Launch<ProductKernel<TRows, TInput, F16>, ProductArgs>(grid, ProductTile.Threads, args); break;
        }
    }

    /// <summary>Waits for others of the same input: queries, keys and values are one launch.</summary>
    private void LinearOfFew(Tensor x, Tensor w, Tensor y)
    {
        if (x.Rows == 0 || w.Rows == 0)
            return;
        FlushSteps();
        bool joins = _linears.Count is > 0 and < LinearsArgs.Capacity && _linearsInput == (x.Storage, x.ByteOffset)
            && _linears.Rows == x.Rows && _linears.K == x.Cols && _linearsType == w.DType;
        if (!joins)
        {
            FlushLinears();
            _linears = new LinearsArgs { X = View<float>(x), Rows = x.Rows, K = x.Cols, IsAligned = IsAligned(x, x.Cols) };
            (_linearsInput, _linearsType) = ((x.Storage, x.ByteOffset), w.DType);
        }
        _linears.Add(Elements(w), View<float>(y), w.Rows);
        _linears.IsAligned &= IsAligned(w, x.Cols);
    }

    private void FlushLinears()
    {
        if (_linears.Count == 0)
            return;
        LinearsArgs args = _linears;
        _linears = default;
        int warps = Math.Max(1, GroupSize / _accelerator.WarpSize);
        Index3D grid = new((args.N0 + args.N1 + args.N2 + args.N3 + warps - 1) / warps, 1, 1);
        switch (_linearsType)
        {
            case DType.F32: Start<LinearsKernel<F32>, LinearsArgs>(grid, GroupSize, args); break;
            case DType.BF16: Start<LinearsKernel<BF16>, LinearsArgs>(grid, GroupSize, args); break;
            default: Start<LinearsKernel<F16>, LinearsArgs>(grid, GroupSize, args); break;
        }
    }

    /// <summary>Whether rows can be read four elements at a time.</summary>
    private static bool IsAligned(Tensor x, int cols) => cols % 4 == 0 && x.ByteOffset % 16 == 0;
}

/// <summary>Up to four products of one input of few rows.</summary>
public struct LinearsArgs
{
    public const int Capacity = 4;

    public ArrayView<float> X;
    public ElementView W0, W1, W2, W3;
    public ArrayView<float> Y0, Y1, Y2, Y3;
    public int Count, Rows, K, N0, N1, N2, N3;
    public Flag IsAligned;

    internal void Add(ElementView w, ArrayView<float> y, int n)
    {
        switch (Count++)
        {
            case 0: (W0, Y0, N0) = (w, y, n); break;
            case 1: (W1, Y1, N1) = (w, y, n); break;
            case 2: (W2, Y2, N2) = (w, y, n); break;
            default: (W3, Y3, N3) = (w, y, n); break;
        }
    }
}

/// <summary>A truth value that kernels take: bool is not blittable.</summary>
public struct Flag
{
    public int Value;

    public static implicit operator Flag(bool value) => new() { Value = value ? 1 : 0 };

    public static implicit operator bool(Flag flag) => flag.Value != 0;
}

/// <summary>y = x · wᵀ for up to 8 rows of x: a warp per row of w, which is read once for all rows of x.</summary>
internal struct LinearsKernel<TWeight> : IKernel<LinearsArgs> where TWeight : struct, IElement
{
    public static void Run(LinearsArgs a)
    {
        int n = Grid.IdxX * (Group.DimX / Warp.WarpSize) + Group.IdxX / Warp.WarpSize;
        if (n < a.N0)
            One(a, a.W0, a.Y0, a.N0, n);
        else if (n < a.N0 + a.N1)
            One(a, a.W1, a.Y1, a.N1, n - a.N0);
        else if (n < a.N0 + a.N1 + a.N2)
            One(a, a.W2, a.Y2, a.N2, n - a.N0 - a.N1);
        else if (n < a.N0 + a.N1 + a.N2 + a.N3)
            One(a, a.W3, a.Y3, a.N3, n - a.N0 - a.N1 - a.N2);
    }

    private static void One(LinearsArgs a, ElementView w, ArrayView<float> y, int columns, int n)
    {
        Sums8 sums = Dots.Rows<TWeight>(a.X, 0, a.Rows, a.K, w, (long)n * a.K, a.IsAligned);
        if (Warp.LaneIdx == 0)
            Dots.Store(sums, y, n, columns, a.Rows);
    }
}

/// <summary>Sums of eight rows.</summary>
internal struct Sums8
{
    public float S0, S1, S2, S3, S4, S5, S6, S7;
}

/// <summary>Dot products of one row of weights, by the lanes of a warp.</summary>
internal static class Dots
{
    /// <summary>Σ_k x[row + r][k] · w[start + k] for the r below <paramref name="rows"/>; all lanes get them.</summary>
    public static Sums8 Rows<TWeight>(ArrayView<float> x, int row, int rows, int k, ElementView w, long start, bool aligned) where TWeight : struct, IElement
    {
        Sums8 s = default;
        if (aligned)
            for (int i = 4 * Warp.LaneIdx; i < k; i += 4 * Warp.WarpSize)
            {
                F4 v = TWeight.Four(w, start + i);
                long at = (long)row * k + i;
                s.S0 += Dot(x, at, v);
                if (rows > 1)
                    s.S1 += Dot(x, at + k, v);
                if (rows > 2)
                    s.S2 += Dot(x, at + 2L * k, v);
                if (rows > 3)
                    s.S3 += Dot(x, at + 3L * k, v);
                if (rows > 4)
                {
                    s.S4 += Dot(x, at + 4L * k, v);
                    if (rows > 5)
                        s.S5 += Dot(x, at + 5L * k, v);
                    if (rows > 6)
                        s.S6 += Dot(x, at + 6L * k, v);
                    if (rows > 7)
                        s.S7 += Dot(x, at + 7L * k, v);
                }
            }
        else
            for (int i = Warp.LaneIdx; i < k; i += Warp.WarpSize)
            {
                float v = TWeight.At(w, start + i);
                long at = (long)row * k + i;
                s.S0 += x[at] * v;
                if (rows > 1)
                    s.S1 += x[at + k] * v;
                if (rows > 2)
                    s.S2 += x[at + 2L * k] * v;
                if (rows > 3)
                    s.S3 += x[at + 3L * k] * v;
                if (rows > 4)
                {
                    s.S4 += x[at + 4L * k] * v;
                    if (rows > 5)
                        s.S5 += x[at + 5L * k] * v;
                    if (rows > 6)
                        s.S6 += x[at + 6L * k] * v;
                    if (rows > 7)
                        s.S7 += x[at + 7L * k] * v;
                }
            }
        s.S0 = Sum(s.S0);
        if (rows > 1)
            s.S1 = Sum(s.S1);
        if (rows > 2)
            s.S2 = Sum(s.S2);
        if (rows > 3)
            s.S3 = Sum(s.S3);
        if (rows > 4)
            s.S4 = Sum(s.S4);
        if (rows > 5)
            s.S5 = Sum(s.S5);
        if (rows > 6)
            s.S6 = Sum(s.S6);
        if (rows > 7)
            s.S7 = Sum(s.S7);
        return s;
    }

    /// <summary>y[r, n] = the sum of row r.</summary>
    public static void Store(Sums8 s, ArrayView<float> y, int n, int columns, int rows)
    {
        y[n] = s.S0;
        if (rows > 1)
            y[columns + n] = s.S1;
        if (rows > 2)
            y[2 * columns + n] = s.S2;
        if (rows > 3)
            y[3 * columns + n] = s.S3;
        if (rows > 4)
            y[4 * columns + n] = s.S4;
        if (rows > 5)
            y[5 * columns + n] = s.S5;
        if (rows > 6)
            y[6 * columns + n] = s.S6;
        if (rows > 7)
            y[7 * columns + n] = s.S7;
    }

    /// <summary>Over the lanes of a warp.</summary>
    public static float Sum(float x)
    {
        for (int distance = Warp.WarpSize >> 1; distance > 0; distance >>= 1)
            x += Warp.ShuffleXor(x, distance);
        return x;
    }

    private static float Dot(ArrayView<float> x, long at, F4 w)
    {
        F4 v = x.AsAligned(16).Cast<F4>()[at >> 2];
        return v.X * w.X + v.Y * w.Y + v.Z * w.Z + v.W * w.W;
    }
}
