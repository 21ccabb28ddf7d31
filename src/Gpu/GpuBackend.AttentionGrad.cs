using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout,
        Tensor y, Tensor lse, Tensor dy, Tensor? dq, Tensor? dk, Tensor? dv, Tensor? dsinks)
    {
        Check.Attention(q, k, v, Readable(sequences), visible, sinks, layout, y, lse);
        Check.AttentionGrad(q, k, v, sinks, y, dy, dq, dk, dv, dsinks);
        if (q.Rows == 0)
            return;
        Tensor delta = this.New([q.Rows, layout.Heads]);
        AttentionArgs args = Arguments(q, k, v, sequences, visible, layout, lse);
        args.Dy = View<float>(dy);
        args.Delta = View<float>(delta);
        args.Y = View<float>(y);
        args.IsAligned &= IsAligned(dy, layout.ValueDim);
        int warps = Math.Max(1, GroupSize / _accelerator.WarpSize);
        Launch<AttentionDeltaKernel, AttentionArgs>(new Index3D((q.Rows * layout.Heads + warps - 1) / warps, 1, 1), GroupSize, args);
        if (dsinks is not null)
            Run<SinkGradStep>(ColumnSums.Blocks(layout.Heads, GroupSize), delta.Count, new Step
            {
                Rows = q.Rows,
                Cols = layout.Heads,
                A = View<float>(delta),
                B = View<float>(sinks!),
                C = View<float>(lse),
                Y = View<float>(dsinks),
            });
        Gradient<QueryGradient>(args, dq, layout.Heads, layout.HeadDim);
        Gradient<KeyGradient>(args, dk, layout.KvHeads, layout.HeadDim);
        Gradient<ValueGradient>(args, dv, layout.KvHeads, layout.ValueDim);
        this.Free(delta);
    }

    /// <summary>A group for each tile of the rows that get a gradient, every head of them and every 128 columns.</summary>
    private void Gradient<TGradient>(AttentionArgs args, Tensor? y, int heads, int dim) where TGradient : struct, IAttentionGradient
    {
        if (y is null)
            return;
        args.Y = View<float>(y);
        Launch<AttentionGradKernel<TGradient>, AttentionArgs>(AttentionTiles(y.Rows, heads, dim), AttentionTile.Threads, args);
    }
}

/// <summary>delta[t,h] = Σ_d dy · y: a warp for each.</summary>
internal struct AttentionDeltaKernel : IKernel<AttentionArgs>
{
    public static void Run(AttentionArgs a)
    {
        int row = Grid.IdxX * (Group.DimX / Warp.WarpSize) + Group.IdxX / Warp.WarpSize;
        if (row >= a.Rows * a.Heads)
            return;
        float sum = 0;
        for (int d = Warp.LaneIdx; d < a.ValueDim; d += Warp.WarpSize)
        {
            long i = (long)row * a.ValueDim + d;
            sum += a.Dy[i] * a.Y[i];
        }
        sum = Dots.Sum(sum);
        if (Warp.LaneIdx == 0)
            a.Delta[row] = sum;
    }
}

/// <summary>One of the three gradients: whose rows it has, and by what the others' rows are weighed in it.</summary>
internal interface IAttentionGradient
{
    /// <summary>Its rows are keys', which all heads add to that share a key head; else queries'.</summary>
    static abstract bool OfKeys { get; }

    /// <summary>By the scores' slopes; else by the probabilities.</summary>
    static abstract bool BySlopes { get; }
}

/// <summary>dq += dS · k</summary>
internal struct QueryGradient : IAttentionGradient
{
    public static bool OfKeys => false;

    public static bool BySlopes => true;
}

/// <summary>dk += dSᵀ · q</summary>
internal struct KeyGradient : IAttentionGradient
{
    public static bool OfKeys => true;

    public static bool BySlopes => true;
}

/// <summary>dv += Pᵀ · dy</summary>
internal struct ValueGradient : IAttentionGradient
{
    public static bool OfKeys => true;

    public static bool BySlopes => false;
}

/// <summary>
/// P = e^(scale · q kᵀ − lse) again, dP = dy vᵀ, dS = scale · P · (dP − Σ_d dy · y), as in FlashAttention-2 (Dao, 2023, arXiv 2307.08691), but each
/// gradient for itself: with eight products of tiles for its five each sum has one group and one order, with no atomics, and few enough
/// registers for heads of any width.
/// </summary>
internal struct AttentionGradKernel<TGradient> : IKernel<AttentionArgs> where TGradient : struct, IAttentionGradient
{
    public static void Run(AttentionArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(ProductTile.K * ProductTile.Row), ys = SharedMemory.Allocate<float>(ProductTile.K * ProductTile.Row);
        ArrayView<float> weights = SharedMemory.Allocate<float>(AttentionTile.Rows * ProductTile.Row), rows = SharedMemory.Allocate<float>(AttentionTile.Depth * AttentionTile.Dims);
        int m = AttentionTile.Row, n = AttentionTile.Column, row = Grid.IdxX * AttentionTile.Rows, column = Grid.IdxZ * AttentionTile.Dims;
        int heads = TGradient.OfKeys ? a.Heads / a.KvHeads : 1, head = Grid.IdxY * heads;
        Sums32 sums = default;
        for (int b = 0; b < a.Count; b++)
        {
            SequenceTile s = SequenceTile.Of(a, b, row, TGradient.OfKeys);
            for (int h = head; h < head + heads; h++)
                for (int other = s.From; other < s.End; other += AttentionTile.Rows)
                {
                    int query = TGradient.OfKeys ? other : s.Row, queries = TGradient.OfKeys ? s.End - other : a.Rows - row, t = s.FirstQuery + query;
                    int key = TGradient.OfKeys ? s.Row : other, keys = TGradient.OfKeys ? a.KeyRows - row : s.End - other, j = s.FirstKey + key;
                    HeadTile q = HeadTile.OfQueries(a, a.Q, a.HeadDim, h, t, queries), k = HeadTile.OfKeys(a, a.K, a.HeadDim, h, j, keys);
                    HeadTile dy = HeadTile.OfQueries(a, a.Dy, a.ValueDim, h, t, queries), v = HeadTile.OfKeys(a, a.V, a.ValueDim, h, j, keys);
                    Sums16 w = AttentionTile.Shrink(AttentionTile.Scores<F32>(a, s, query, key, q, k, xs, ys), OfQueries(a.Lse, a, h, t + m));
                    if (TGradient.BySlopes)
                        w = Slopes(w, AttentionTile.Products<F32>(dy, v, xs, ys), OfQueries(a.Delta, a, h, t + m), a.Scale);
                    if (TGradient.OfKeys)
                        AttentionTile.Store(weights, m, n, w);
                    else
                        AttentionTile.Store(weights, n, m, Sums16.Turned(w));
                    sums = AttentionTile.Add<F32>(weights, !TGradient.OfKeys ? k : TGradient.BySlopes ? q : dy, column, rows, sums);
                }
        }
        int dim = TGradient.BySlopes ? a.HeadDim : a.ValueDim;
        HeadTile y = TGradient.OfKeys ? HeadTile.OfKeys(a, ElementView.Of(a.Y), dim, head, row, a.KeyRows - row) : HeadTile.OfQueries(a, a.Y, dim, head, row, a.Rows - row);
        AttentionTile.AddTo(y, column, sums, new() { X = 1, Y = 1, Z = 1, W = 1 });
    }

    private static Sums16 Slopes(Sums16 p, Sums16 dp, F4 delta, float scale) => new()
    {
        R0 = Slopes(p.R0, dp.R0, delta.X, scale),
        R1 = Slopes(p.R1, dp.R1, delta.Y, scale),
        R2 = Slopes(p.R2, dp.R2, delta.Z, scale),
        R3 = Slopes(p.R3, dp.R3, delta.W, scale),
    };

    private static F4 Slopes(F4 p, F4 dp, float delta, float scale) => new()
    {
        X = Slope(p.X, dp.X, delta, scale),
        Y = Slope(p.Y, dp.Y, delta, scale),
        Z = Slope(p.Z, dp.Z, delta, scale),
        W = Slope(p.W, dp.W, delta, scale),
    };

    /// <summary>0 where nothing was seen: rows of no sequence may hold anything.</summary>
    private static float Slope(float p, float dp, float delta, float scale) => p == 0 ? 0 : scale * p * (dp - delta);

    /// <summary>x[t, h] of four queries; 0 beyond the last.</summary>
    private static F4 OfQueries(ArrayView<float> x, AttentionArgs a, int h, int t)
    {
        long at = (long)t * a.Heads + h;
        return new()
        {
            X = t < a.Rows ? x[at] : 0,
            Y = t + 1 < a.Rows ? x[at + a.Heads] : 0,
            Z = t + 2 < a.Rows ? x[at + 2 * a.Heads] : 0,
            W = t + 3 < a.Rows ? x[at + 3 * a.Heads] : 0,
        };
    }
}

/// <summary>dsinks[h] −= Σ_t e^(sinks[h] − lse[t,h]) · delta[t,h]</summary>
internal struct SinkGradStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int h = ColumnSums.Column(item);
        float sum = 0;
        if (h < s.Cols)
            for (int t = ColumnSums.FirstRow; t < s.Rows; t += ColumnSums.RowStep)
                sum -= MathF.Exp(s.B[h] - s.C[t * s.Cols + h]) * s.A[t * s.Cols + h];
        sum = ColumnSums.Of(sum, scratch);
        if (ColumnSums.FirstRow == 0 && h < s.Cols)
            s.Y[h] += sum;
    }
}
