using ILGPU;

namespace MoeFromScratch.Gpu;

/// <summary>
/// One query and head over one piece of its keys. Each warp takes every eighth key: its lanes share the dot product, and add the
/// value's columns; then the warps' softmaxes become one. Parts: Kv sums, the greatest score and the denominator for it.
/// </summary>
internal struct FewQueriesKernel<TElement> : IKernel<AttentionArgs> where TElement : struct, IElement
{
    public static void Run(AttentionArgs a)
    {
        ArrayView<float> sums = SharedMemory.Allocate<float>(32 * AttentionTile.MostDims / 4), greatest = SharedMemory.Allocate<float>(32), weights = SharedMemory.Allocate<float>(32);
        int t = Grid.IdxX / a.Heads, h = Grid.IdxX - t * a.Heads, lane = Warp.LaneIdx, warp = Group.IdxX / Warp.WarpSize, warps = Group.DimX / Warp.WarpSize;
        int firstKey = 0, keys = 0, position = 0;
        for (int b = 0; b < a.Count; b++)
        {
            int query = t - a.Sequences[4 * b], queries = a.Sequences[4 * b + 1];
            if (query >= 0 && query < queries)
            {
                firstKey = a.Sequences[4 * b + 2];
                keys = a.Sequences[4 * b + 3];
                position = keys - queries + query;
            }
        }
        int perSplit = (keys + a.Splits - 1) / a.Splits, start = Grid.IdxY * perSplit, end = IntrinsicMath.Min(keys, start + perSplit);
        int kvHead = h / (a.Heads / a.KvHeads);
        long query0 = ((long)t * a.Heads + h) * a.HeadDim;
        ElementView q = ElementView.Of(a.Q);
        F4 q0 = Lanes4.Load<F32>(q, query0, lane, a.HeadDim, 0), q1 = Lanes4.Load<F32>(q, query0, lane, a.HeadDim, 4);
        F4 y0 = default, y1 = default;
        float max = float.NegativeInfinity, sum = 0;
        for (int j = start + warp; j < end; j += warps)
        {
            if (!AttentionArgs.Sees(a, t, position, j))
                continue;
            long row = (long)(firstKey + j) * a.KvHeads + kvHead;
            float dot = Lanes4.Dot(q0, Lanes4.Load<TElement>(a.K, row * a.HeadDim, lane, a.HeadDim, 0));
            if (a.HeadDim > 4 * Warp.WarpSize)
                dot += Lanes4.Dot(q1, Lanes4.Load<TElement>(a.K, row * a.HeadDim, lane, a.HeadDim, 4));
            float score = a.Scale * Dots.Sum(dot), higher = MathF.Max(max, score), keep = MathF.Exp(max - higher), p = MathF.Exp(score - higher);
            max = higher;
            sum = sum * keep + p;
            y0 = Lanes4.Mix(y0, keep, Lanes4.Load<TElement>(a.V, row * a.ValueDim, lane, a.ValueDim, 0), p);
            if (a.ValueDim > 4 * Warp.WarpSize)
                y1 = Lanes4.Mix(y1, keep, Lanes4.Load<TElement>(a.V, row * a.ValueDim, lane, a.ValueDim, 4), p);
        }
        if (lane == 0)
        {
            greatest[warp] = max;
            weights[warp] = sum;
        }
        Lanes4.Store(sums, warp * a.ValueDim, lane, a.ValueDim, 0, y0);
        Lanes4.Store(sums, warp * a.ValueDim, lane, a.ValueDim, 4, y1);
        Group.Barrier();
        float top = float.NegativeInfinity, total = 0;
        for (int w = 0; w < warps; w++)
            top = MathF.Max(top, greatest[w]);
        for (int w = 0; w < warps; w++)
            total += weights[w] > 0 ? weights[w] * MathF.Exp(greatest[w] - top) : 0;
        long part = ((long)Grid.IdxX * a.Splits + Grid.IdxY) * (a.ValueDim + 2);
        for (int d = Group.IdxX; d < a.ValueDim; d += Group.DimX)
        {
            float y = 0;
            for (int w = 0; w < warps; w++)
                y += weights[w] > 0 ? sums[w * a.ValueDim + d] * MathF.Exp(greatest[w] - top) : 0;
            a.Parts[part + d] = y;
        }
        if (Group.IdxX == 0)
        {
            a.Parts[part + a.ValueDim] = top;
            a.Parts[part + a.ValueDim + 1] = total;
        }
    }
}

/// <summary>The pieces of a query's keys together: an item is a query and head. N pieces; M heads.</summary>
internal struct MergeAttentionStep : IStep
{
    public static int Code => 20;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        float sink = s.B.Length == 0 ? float.NegativeInfinity : s.B[item % s.M], max = sink, sum = 0;
        int size = s.Cols + 2, first = item * s.N * size;
        for (int i = 0; i < s.N; i++)
            max = MathF.Max(max, s.A[first + i * size + s.Cols]);
        bool none = max == float.NegativeInfinity;
        for (int i = 0; i < s.N; i++)
            sum += none ? 0 : s.A[first + i * size + s.Cols + 1] * MathF.Exp(s.A[first + i * size + s.Cols] - max);
        sum += none ? 0 : MathF.Exp(sink - max);
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
        {
            float y = 0;
            for (int i = 0; i < s.N; i++)
                y += none ? 0 : s.A[first + i * size + d] * MathF.Exp(s.A[first + i * size + s.Cols] - max);
            s.Y[item * s.Cols + d] = none ? 0 : y / sum;
        }
        if (Group.IdxX == 0)
            s.Z[item] = none ? float.NegativeInfinity : max + MathF.Log(sum);
    }
}

/// <summary>Columns lane, lane + 32, lane + 64 and lane + 96 of a row in a warp's four registers; what lies beyond it counts as 0.</summary>
internal static class Lanes4
{
    /// <param name="x">Where the row lies.</param>
    /// <param name="start">Its first element.</param>
    /// <param name="lane">Of the thread.</param>
    /// <param name="columns">Of the row.</param>
    /// <param name="registers">How many come before: 0, or 4 for the second half of a wide row.</param>
    public static F4 Load<TElement>(ElementView x, long start, int lane, int columns, int registers) where TElement : struct, IElement
    {
        int d = lane + registers * Warp.WarpSize;
        F4 v = default;
        if (d < columns)
            v.X = TElement.At(x, start + d);
        if (d + Warp.WarpSize < columns)
            v.Y = TElement.At(x, start + d + Warp.WarpSize);
        if (d + 2 * Warp.WarpSize < columns)
            v.Z = TElement.At(x, start + d + 2 * Warp.WarpSize);
        if (d + 3 * Warp.WarpSize < columns)
            v.W = TElement.At(x, start + d + 3 * Warp.WarpSize);
        return v;
    }

    public static void Store(ArrayView<float> y, long start, int lane, int columns, int registers, F4 v)
    {
        int d = lane + registers * Warp.WarpSize;
        if (d < columns)
            y[start + d] = v.X;
        if (d + Warp.WarpSize < columns)
            y[start + d + Warp.WarpSize] = v.Y;
        if (d + 2 * Warp.WarpSize < columns)
            y[start + d + 2 * Warp.WarpSize] = v.Z;
        if (d + 3 * Warp.WarpSize < columns)
            y[start + d + 3 * Warp.WarpSize] = v.W;
    }

    public static float Dot(F4 a, F4 b) => a.X * b.X + a.Y * b.Y + a.Z * b.Z + a.W * b.W;

    /// <summary>a · keep + b · p</summary>
    public static F4 Mix(F4 a, float keep, F4 b, float p) =>
        new() { X = a.X * keep + b.X * p, Y = a.Y * keep + b.Y * p, Z = a.Z * keep + b.Z * p, W = a.W * keep + b.W * p };
}
