namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Attention forward (Dao et al., 2022): a block of queries walks over blocks of keys with a running maximum and sum per row.
/// y, zero before, holds the unnormalised output meanwhile; a sink is where maximum and sum begin. lse, −∞ or the sinks before,
/// stays so for a query that sees nothing. A piece is (sequence, key head, block of queries) with all query heads that share the
/// key head: they read and pack a block of keys once.
/// </summary>
internal unsafe struct FlashAttention<V> : IJob where V : struct, ILanes<V>
{
    private const int KeyBlock = 64;

    public AttentionView View;
    public int Blocks;
    public float* Scratch;

    private static int MR => GemmKernels<V>.MR;
    private static int NR => GemmKernels<V>.NR;

    /// <summary>Queries per piece: whole tiles.</summary>
    private static int QueryBlock => 90 / MR * MR;

    public static int QueryBlocks(in Sequence s) => (s.Queries + QueryBlock - 1) / QueryBlock;

    /// <summary>Floats: packed queries, one block of keys and of values, scores and packed probabilities, maxima and sums.</summary>
    public readonly long ScratchPerWorker =>
        (long)QueryBlock * (View.Group * (View.Layout.HeadDim + 2) + 2 * KeyBlock) + KeyBlock * ((long)View.Layout.HeadDim + View.Layout.ValueDim + NR);

    public readonly void Run(int index, int worker)
    {
        int block = index % Blocks, kvHead = index / Blocks % View.Layout.KvHeads;
        ref readonly Sequence s = ref View.Sequences[index / Blocks / View.Layout.KvHeads];
        int first = block * QueryBlock, end = Math.Min(s.Queries, first + QueryBlock);
        if (first >= end || CachedAttention<V>.Takes(s))
            return;

        float* max = Scratch + worker * ScratchPerWorker, sum = max + QueryBlock * View.Group, rest = sum + QueryBlock * View.Group;
        for (int g = 0; g < View.Group; g++)
            new Span<float>(max + g * QueryBlock, QueryBlock).Fill(View.Sinks == null ? float.NegativeInfinity : View.Sinks[kvHead * View.Group + g]);
        new Span<float>(sum, QueryBlock * View.Group).Fill(View.Sinks == null ? 0 : 1);
        ByBlocks(s, kvHead, first, end, max, sum, rest);
        Finish(s, kvHead, first, end, max, sum);
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
                int head = kvHead * View.Group + g, state = g * QueryBlock + i - first;
                if (sum[state] == 0)
                    continue;
                RowMath<V>.Scale(1 / sum[state], Output(s, i, head), View.Layout.ValueDim);
                View.Lse[(long)(s.Query + i) * View.Layout.Heads + head] = max[state] + MathF.Log(sum[state]);
            }
    }

    /// <summary>Many queries: scores and outputs are small matmuls of packed blocks.</summary>
    private readonly void ByBlocks(in Sequence s, int kvHead, int first, int end, float* max, float* sum, float* scratch)
    {
        int d = View.Layout.HeadDim, dv = View.Layout.ValueDim, rows = end - first;
        float* queries = scratch, keys = queries + (long)QueryBlock * View.Group * d, values = keys + KeyBlock * d;
        float* scores = values + KeyBlock * (dv + NR), probabilities = scores + QueryBlock * KeyBlock;
        for (int g = 0; g < View.Group; g++)
            Gemm<V>.PackAcross<F32>(Query(s, first, kvHead * View.Group + g), 0, View.QRow, rows, d, queries + (long)g * QueryBlock * d, MR);

        (int from, int to) = View.Reach(s, first, end - 1);
        for (int key = from; key < to; key += KeyBlock)
        {
            int count = Math.Min(KeyBlock, to - key);
            Gemm<V>.PackAcross<F32>(Key(s, key, kvHead), 0, View.KRow, count, d, keys, NR);
            Gemm<V>.PackAlong<F32>(Value(s, key, kvHead), 0, View.VRow, dv, count, values, NR);
            for (int g = 0; g < View.Group; g++)
            {
                int head = kvHead * View.Group + g;
                Gemm<V>.Multiply(rows, count, d, queries + (long)g * QueryBlock * d, keys, scores, KeyBlock, accumulate: false);
                for (int i = 0; i < rows; i++)
                {
                    int state = g * QueryBlock + i;
                    View.ScaleAndHide<V>(scores + i * KeyBlock, s, first + i, key, count);
                    Absorb(scores + i * KeyBlock, count, ref max[state], ref sum[state], Output(s, first + i, head), dv);
                }
                Gemm<V>.PackAcross<F32>(scores, 0, KeyBlock, rows, count, probabilities, MR);
                Gemm<V>.Multiply(rows, dv, count, probabilities, values, Output(s, first, head), View.YRow, accumulate: true);
            }
        }
    }

    /// <summary>Turns scores into e^(score − max) under a maximum that may have risen, and what was summed before with it.</summary>
    public static void Absorb(float* scores, int count, ref float max, ref float sum, float* y, int dv)
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
            RowMath<V>.Scale(shrink, y, dv);
            max = top;
        }
        sum += RowMath<V>.Exp(scores, top, scores, count);
    }
}
