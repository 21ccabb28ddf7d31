using ILGPU;
using ILGPU.Runtime;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    private readonly HashSet<DeviceStorage> _linearsInputs = [], _linearsOutputs = [];
    private LinearsArgs _linears;
    private DType _linearsType;

    /// <summary>
    /// Waits for others that depend on nothing that waits: queries, keys and values are one launch, and go before the steps that were asked for
    /// between them.
    /// </summary>
    private void LinearOfFew(Tensor x, Tensor w, Tensor y)
    {
        if (x.Rows == 0 || w.Rows == 0)
            return;
        bool joins = _linears.Count is > 0 and < LinearsArgs.Capacity && _linears.Rows == x.Rows && _linearsType == w.DType
            && !IsTouched(x) && !IsTouched(w) && !IsTouched(y)
            && !IsWritten(x) && !IsWritten(w) && !IsWritten(y) && !_linearsInputs.Contains(_memory.Mine(y.Storage));
        if (!joins)
            Flush();
        (_linears.Rows, _linearsType) = (x.Rows, w.DType);
        _linears.Add(new LinearArgs
        {
            X = View<float>(x),
            W = Elements(w),
            Y = View<float>(y),
            K = x.Cols,
            N = w.Rows,
            IsAligned = IsAligned(x, x.Cols) && IsAligned(w, x.Cols),
        });
        _linearsInputs.Add(_memory.Mine(x.Storage));
        _linearsInputs.Add(_memory.Mine(w.Storage));
        _linearsOutputs.Add(_memory.Mine(y.Storage));
        _viewed.Clear();
    }

    /// <summary>Whether a step that waits reads or writes its memory: then it must go first.</summary>
    private bool IsTouched(Tensor x) => _touched.Contains(_memory.Mine(x.Storage));

    /// <summary>Whether a product that waits writes it.</summary>
    private bool IsWritten(Tensor x) => _linearsOutputs.Contains(_memory.Mine(x.Storage));

    private void SmallLinear(Tensor x, Tensor w, Tensor y)
    {
        ElementView weights = Elements(w);
        Step step = new() { Cols = x.Cols, N = w.Rows, A = View<float>(x), B = weights.Floats, H = weights.Halves, Y = View<float>(y) };
        switch (w.DType)
        {
            case DType.F32: Run<SmallLinearStep<F32>>(x.Rows * w.Rows, w.Count, step); break;
            case DType.BF16: Run<SmallLinearStep<BF16>>(x.Rows * w.Rows, w.Count, step); break;
            default: Run<SmallLinearStep<F16>>(x.Rows * w.Rows, w.Count, step); break;
        }
    }

    private void FlushLinears()
    {
        if (_linears.Count == 0)
            return;
        LinearsArgs args = _linears;
        _linears = default;
        _linearsInputs.Clear();
        _linearsOutputs.Clear();
        int warps = Math.Max(1, GroupSize / _accelerator.WarpSize);
        Index3D grid = new((args.L0.N + args.L1.N + args.L2.N + args.L3.N + warps - 1) / warps, 1, 1);
        switch (_linearsType)
        {
            case DType.F32: Start<LinearsKernel<F32>, LinearsArgs>(grid, GroupSize, args); break;
            case DType.BF16: Start<LinearsKernel<BF16>, LinearsArgs>(grid, GroupSize, args); break;
            default: Start<LinearsKernel<F16>, LinearsArgs>(grid, GroupSize, args); break;
        }
    }
}

/// <summary>y[t, n] = x[t] · w[n]; an item is one of them.</summary>
internal struct SmallLinearStep<TWeight> : IStep where TWeight : struct, IElement
{
    public static int Code => typeof(TWeight) == typeof(F32) ? 23 : typeof(TWeight) == typeof(BF16) ? 24 : 25;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int t = item / s.N, n = item - t * s.N;
        ElementView w = new() { Floats = s.B, Halves = s.H };
        float sum = 0;
        for (int k = Group.IdxX; k < s.Cols; k += Group.DimX)
            sum += s.A[(long)t * s.Cols + k] * TWeight.At(w, (long)n * s.Cols + k);
        sum = GroupMath.Sum(sum, scratch);
        if (Group.IdxX == 0)
            s.Y[item] = sum;
    }
}

/// <summary>One product of few rows.</summary>
public struct LinearArgs
{
    public ArrayView<float> X, Y;
    public ElementView W;
    public int K, N;
    public Flag IsAligned;
}

/// <summary>Up to four products of as many rows, none of which reads or writes what another writes.</summary>
public struct LinearsArgs
{
    public const int Capacity = 4;

    public int Count, Rows;
    public LinearArgs L0, L1, L2, L3;

    internal void Add(LinearArgs one)
    {
        switch (Count++)
        {
            case 0: L0 = one; break;
            case 1: L1 = one; break;
            case 2: L2 = one; break;
            default: L3 = one; break;
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
internal struct LinearsKernel<TWeight> : IKernel<LinearsArgs> where TWeight : struct, IWeight
{
    public static void Run(LinearsArgs a)
    {
        int n = Grid.IdxX * (Group.DimX / Warp.WarpSize) + Group.IdxX / Warp.WarpSize;
        if (n < a.L0.N)
            One(a.L0, a.Rows, n);
        else if (n < a.L0.N + a.L1.N)
            One(a.L1, a.Rows, n - a.L0.N);
        else if (n < a.L0.N + a.L1.N + a.L2.N)
            One(a.L2, a.Rows, n - a.L0.N - a.L1.N);
        else if (n < a.L0.N + a.L1.N + a.L2.N + a.L3.N)
            One(a.L3, a.Rows, n - a.L0.N - a.L1.N - a.L2.N);
    }

    private static void One(LinearArgs a, int rows, int n)
    {
        Sums8 sums = Dots.Rows<TWeight>(a.X, 0, rows, a.K, a.W, (long)n * a.K, a.IsAligned);
        if (Warp.LaneIdx == 0)
            Dots.Store(sums, a.Y, n, a.N, rows);
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
    public static Sums8 Rows<TWeight>(ArrayView<float> x, int row, int rows, int k, ElementView w, long start, bool aligned) where TWeight : struct, IWeight
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
