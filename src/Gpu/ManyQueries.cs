using ILGPU;

namespace MoeFromScratch.Gpu;

/// <summary>
/// Flash attention (Dao et al., 2022, arXiv 2205.14135): a tile of queries of one head over their keys, a tile at a time. The 16 threads
/// of a row keep its greatest score so far, so that the exponentials stay in range; each adds up the denominator of its own keys.
/// </summary>
internal struct ManyQueriesKernel<TElement> : IKernel<AttentionArgs> where TElement : struct, IElement
{
    public static void Run(AttentionArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(ProductTile.K * ProductTile.Row), ys = SharedMemory.Allocate<float>(ProductTile.K * ProductTile.Row);
        ArrayView<float> weights = SharedMemory.Allocate<float>(AttentionTile.Rows * ProductTile.Row), rows = SharedMemory.Allocate<float>(AttentionTile.Depth * AttentionTile.Dims);
        int h = Grid.IdxY, m = AttentionTile.Row, n = AttentionTile.Column, row = Grid.IdxX * AttentionTile.Rows, column = Grid.IdxZ * AttentionTile.Dims;
        HeadTile q = HeadTile.OfQueries(a, a.Q, a.HeadDim, h, row, a.Rows - row);
        F4 max = new() { X = float.NegativeInfinity, Y = float.NegativeInfinity, Z = float.NegativeInfinity, W = float.NegativeInfinity }, sum = default;
        Sums32 sums = default;
        for (int b = 0; b < a.Count; b++)
        {
            SequenceTile s = SequenceTile.Of(a, b, row, false);
            for (int key = s.From; key < s.End; key += AttentionTile.Rows)
            {
                int j = s.FirstKey + key, keys = s.End - key;
                HeadTile k = HeadTile.OfKeys(a, a.K, a.HeadDim, h, j, keys), v = HeadTile.OfKeys(a, a.V, a.ValueDim, h, j, keys);
                Sums16 p = AttentionTile.Scores<TElement>(a, s, s.Row, key, q, k, xs, ys);
                F4 higher = new() { X = Higher(max.X, p.R0), Y = Higher(max.Y, p.R1), Z = Higher(max.Z, p.R2), W = Higher(max.W, p.R3) };
                F4 keep = Shrink(max, higher);
                p = AttentionTile.Shrink(p, higher);
                max = higher;
                sum = new() { X = sum.X * keep.X + Sum(p.R0), Y = sum.Y * keep.Y + Sum(p.R1), Z = sum.Z * keep.Z + Sum(p.R2), W = sum.W * keep.W + Sum(p.R3) };
                AttentionTile.Store(weights, n, m, Sums16.Turned(p));
                sums = new() { Near = Sums16.Scaled(sums.Near, keep), Far = Sums16.Scaled(sums.Far, keep) };
                sums = AttentionTile.Add<TElement>(weights, v, column, rows, sums);
            }
        }
        float sink = a.Sinks.Length == 0 ? float.NegativeInfinity : a.Sinks[h];
        F4 top = new() { X = MathF.Max(max.X, sink), Y = MathF.Max(max.Y, sink), Z = MathF.Max(max.Z, sink), W = MathF.Max(max.W, sink) }, shrink = Shrink(max, top);
        F4 total = new()
        {
            X = OverRow(sum.X) * shrink.X + AttentionTile.Shrink(sink, top.X),
            Y = OverRow(sum.Y) * shrink.Y + AttentionTile.Shrink(sink, top.Y),
            Z = OverRow(sum.Z) * shrink.Z + AttentionTile.Shrink(sink, top.Z),
            W = OverRow(sum.W) * shrink.W + AttentionTile.Shrink(sink, top.W),
        };
        F4 factors = new() { X = Share(shrink.X, total.X), Y = Share(shrink.Y, total.Y), Z = Share(shrink.Z, total.Z), W = Share(shrink.W, total.W) };
        AttentionTile.AddTo(HeadTile.OfQueries(a, a.Y, a.ValueDim, h, row, a.Rows - row), column, sums, factors);
        if (n > 0 || column > 0)
            return;
        StoreLse(a, h, row + m, top.X, total.X);
        StoreLse(a, h, row + m + 1, top.Y, total.Y);
        StoreLse(a, h, row + m + 2, top.Z, total.Z);
        StoreLse(a, h, row + m + 3, top.W, total.W);
    }

    /// <summary>The greatest score so far, over the row's threads.</summary>
    private static float Higher(float max, F4 scores)
    {
        float score = MathF.Max(MathF.Max(scores.X, scores.Y), MathF.Max(scores.Z, scores.W));
        for (int distance = AttentionTile.RowThreads >> 1; distance > 0; distance >>= 1)
            score = MathF.Max(score, Warp.ShuffleXor(score, distance));
        return MathF.Max(max, score);
    }

    private static float OverRow(float x)
    {
        for (int distance = AttentionTile.RowThreads >> 1; distance > 0; distance >>= 1)
            x += Warp.ShuffleXor(x, distance);
        return x;
    }

    private static float Sum(F4 v) => v.X + v.Y + v.Z + v.W;

    private static F4 Shrink(F4 scores, F4 max) => new()
    {
        X = AttentionTile.Shrink(scores.X, max.X),
        Y = AttentionTile.Shrink(scores.Y, max.Y),
        Z = AttentionTile.Shrink(scores.Z, max.Z),
        W = AttentionTile.Shrink(scores.W, max.W),
    };

    /// <summary>0 for a query that saw nothing.</summary>
    private static float Share(float shrink, float total) => total > 0 ? shrink / total : 0;

    private static void StoreLse(AttentionArgs a, int h, int t, float max, float sum)
    {
        if (t < a.Rows && sum > 0)
            a.Lse[(long)t * a.Heads + h] = max + MathF.Log(sum);
    }
}
