namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Attention forward for a few queries, as in decoding: <see cref="BlockAttention{V}"/> row by row, keys and values read once and where they
/// lie. y, zero before, holds the unnormalised output meanwhile; a sink is where maximum and sum begin. lse, −∞ or the sinks before,
/// stays so for a query that sees nothing. A piece is (sequence, key head) with all query heads that share the key head.
/// </summary>
internal unsafe struct FlashAttention<V> : IJob where V : struct, ILanes<V>
{
    private const int KeyBlock = 64, FewQueries = 8;

    public AttentionView View;
    public float* Scratch;

    /// <summary>Whether a sequence has few queries.</summary>
    public static bool Takes(in Sequence s) => s.Queries <= FewQueries;

    /// <summary>Floats: scores, maxima and sums.</summary>
    public readonly long ScratchPerWorker => KeyBlock + 2 * FewQueries * View.Group;

    public readonly void Run(int index, int worker)
    {
        int kvHead = index % View.Layout.KvHeads;
        ref readonly Sequence s = ref View.Sequences[index / View.Layout.KvHeads];
        if (!Takes(s))
            return;

        float* max = Scratch + worker * ScratchPerWorker, sum = max + FewQueries * View.Group, scores = sum + FewQueries * View.Group;
        for (int g = 0; g < View.Group; g++)
            new Span<float>(max + g * FewQueries, FewQueries).Fill(View.Sinks == null ? float.NegativeInfinity : View.Sinks[kvHead * View.Group + g]);
        new Span<float>(sum, FewQueries * View.Group).Fill(View.Sinks == null ? 0 : 1);
        ByRows(s, kvHead, 0, s.Queries, max, sum, scores);
        Finish(s, kvHead, 0, s.Queries, max, sum);
    }

    private readonly float* Query(in Sequence s, int i, int head) => View.Q + (s.Query + i) * View.QRow + (long)head * View.Layout.HeadDim;

    private readonly float* Output(in Sequence s, int i, int head) => View.Y + (s.Query + i) * View.YRow + (long)head * View.Layout.ValueDim;

    private readonly float* Key(in Sequence s, int j, int head) => View.K + (s.Key + j) * View.KRow + (long)head * View.Layout.HeadDim;

    private readonly float* Value(in Sequence s, int j, int head) => View.V + (s.Key + j) * View.VRow + (long)head * View.Layout.ValueDim;

    private readonly void Finish(in Sequence s, int kvHead, int first, int end, float* max, float* sum)
    {
        for (int g = 0; g < View.Group; g++)
            for (int i = first; i < end; i++)
            {
                int head = kvHead * View.Group + g, state = g * FewQueries + i - first;
                if (sum[state] == 0)
                    continue;
                RowMath<V>.Scale(1 / sum[state], Output(s, i, head), View.Layout.ValueDim);
                View.Lse[(long)(s.Query + i) * View.Layout.Heads + head] = max[state] + MathF.Log(sum[state]);
            }
    }

    /// <summary>Few queries, as in decoding: keys and values are read once, where they lie.</summary>
    private readonly void ByRows(in Sequence s, int kvHead, int first, int end, float* max, float* sum, float* scores)
    {
        int d = View.Layout.HeadDim;
        (int from, int to) = View.Reach(s, first, end - 1);
        for (int key = from; key < to; key += KeyBlock)
        {
            int count = Math.Min(KeyBlock, to - key);
            for (int g = 0; g < View.Group; g++)
                for (int i = first; i < end; i++)
                {
                    int head = kvHead * View.Group + g, state = g * FewQueries + i - first, j = 0;
                    float* q = Query(s, i, head), y = Output(s, i, head);
                    for (; j <= count - 4; j += 4)
                        MatvecKernels<V>.Dot4<F32>(q, Key(s, key + j, kvHead), View.KRow, d, scores + j);
                    for (; j < count; j++)
                        scores[j] = RowMath<V>.Dot(q, Key(s, key + j, kvHead), d);
                    View.ScaleAndHide<V>(scores, s, i, key, count);
                    Absorb(scores, count, ref max[state], ref sum[state], y);
                    AddRows(scores, Value(s, key, kvHead), View.VRow, count, y, View.Layout.ValueDim);
                }
        }
    }

    /// <summary>Turns scores into e^(score − max) under a maximum that may have risen, and what was summed before with it.</summary>
    private readonly void Absorb(float* scores, int count, ref float max, ref float sum, float* y)
    {
        float top = MathF.Max(max, RowMath<V>.Max(scores, count));
        if (float.IsNegativeInfinity(top))
        {
            new Span<float>(scores, count).Clear();
            return;
        }
        if (top > max)
        {
            float shrink = MathF.Exp(max - top);
            sum *= shrink;
            RowMath<V>.Scale(shrink, y, View.Layout.ValueDim);
            max = top;
        }
        sum += RowMath<V>.Exp(scores, top, scores, count);
    }

    /// <summary>y[d] += Σ_j weight[j] · x[j][d], four lanes' worth of columns in registers at a time.</summary>
    private static void AddRows(float* weight, float* x, long stride, int count, float* y, int d)
    {
        int i = 0;
        for (; i <= d - 4 * V.Count; i += 4 * V.Count)
        {
            V s0 = V.Load(y + i), s1 = V.Load(y + i + V.Count), s2 = V.Load(y + i + 2 * V.Count), s3 = V.Load(y + i + 3 * V.Count);
            float* row = x + i;
            for (int j = 0; j < count; j++, row += stride)
            {
                V w = V.Of(weight[j]);
                s0 = V.MulAdd(w, V.Load(row), s0);
                s1 = V.MulAdd(w, V.Load(row + V.Count), s1);
                s2 = V.MulAdd(w, V.Load(row + 2 * V.Count), s2);
                s3 = V.MulAdd(w, V.Load(row + 3 * V.Count), s3);
            }
            s0.Store(y + i);
            s1.Store(y + i + V.Count);
            s2.Store(y + i + 2 * V.Count);
            s3.Store(y + i + 3 * V.Count);
        }
        if (i < d)
            for (int j = 0; j < count; j++)
                RowMath<V>.AddScaled(weight[j], x + j * stride + i, y + i, d - i);
    }
}
