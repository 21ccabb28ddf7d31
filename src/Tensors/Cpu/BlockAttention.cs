namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Attention forward for many queries (Dao et al., 2022): a block of queries walks over blocks of keys with a running maximum and sum
/// per query. One lane is one query: scores stand on end, [key][query], so maxima, exponentials and sums are plain vector code without
/// a horizontal step, and scores are the B of the product with the values as they lie. A panel of two vectors of queries sees only
/// the keys that one of its queries may see. In the first-level cache: the panel's queries, scores and outputs, 4 KB each at 8 lanes
/// and 64 columns; in the second: copies of the block's keys and values, which lie far apart in memory and would push each other
/// out, and all panels of the piece. A piece is (block of queries, sequence, key head) with all query heads that share the key head.
/// </summary>
internal unsafe struct BlockAttention<V> : IJob where V : struct, ILanes<V>
{
    private const int KeyBlock = 96, Rows = 256;

    public AttentionView View;

    /// <summary>Blocks of queries in the longest sequence, sequences.</summary>
    public int Blocks, Count;
    public float* Scratch;

    private static int NR => LooseProduct<V>.NR;

    /// <summary>Queries in a piece, times query heads about <see cref="Rows"/>.</summary>
    private readonly int QueryBlock => Math.Max(1, Rows / View.Group / NR) * NR;

    private readonly long OutputPanel => (long)Tiles(View.Layout.ValueDim) * NR;

    public readonly int QueryBlocks(in Sequence s) => (s.Queries + QueryBlock - 1) / QueryBlock;

    /// <summary>Floats: packed queries, outputs, maxima and sums, a block of keys and of values, a panel of scores or of turned outputs.</summary>
    public readonly long ScratchPerWorker => View.Group * QueryBlock * (long)(View.Layout.HeadDim + Tiles(View.Layout.ValueDim) + 2)
        + Tiles(KeyBlock) * (long)(View.Layout.HeadDim + View.Layout.ValueDim) + LooseProduct<V>.MR + NR * (long)Math.Max(Tiles(KeyBlock), View.Layout.ValueDim);

    private static int Tiles(int rows) => (rows + LooseProduct<V>.MR - 1) / LooseProduct<V>.MR * LooseProduct<V>.MR;

    public readonly void Run(int index, int worker)
    {
        // The last queries see the most keys: they come first, so that nobody waits for them at the end.
        int kvHead = index % View.Layout.KvHeads, block = Blocks - 1 - index / View.Layout.KvHeads / Count;
        ref readonly Sequence s = ref View.Sequences[index / View.Layout.KvHeads % Count];
        int first = block * QueryBlock, end = Math.Min(s.Queries, first + QueryBlock);
        if (first >= end || CachedAttention<V>.Takes(s))
            return;

        int d = View.Layout.HeadDim, dv = View.Layout.ValueDim, panels = (end - first + NR - 1) / NR;
        float* queries = Scratch + worker * ScratchPerWorker, outputs = queries + (long)View.Group * QueryBlock * d;
        float* max = outputs + View.Group * (QueryBlock / NR) * OutputPanel, sum = max + View.Group * QueryBlock;
        float* keys = sum + View.Group * QueryBlock, values = keys + Tiles(KeyBlock) * (long)d, scores = values + Tiles(KeyBlock) * (long)dv + LooseProduct<V>.MR;
        for (int g = 0; g < View.Group; g++)
            Begin(s, kvHead * View.Group + g, first, end, queries + (long)g * QueryBlock * d, outputs + g * panels * OutputPanel,
                max + g * QueryBlock, sum + g * QueryBlock);

        (int from, int to) = View.Reach(s, first, end - 1);
        for (int key = from; key < to; key += KeyBlock)
        {
            int count = Math.Min(KeyBlock, to - key);
            Packing.Along<V>(View.Stored, View.K, (s.Key + key) * View.KRow + (long)kvHead * d, View.KRow, d, count, keys, d);
            Packing.Along<V>(View.Stored, View.V, (s.Key + key) * View.VRow + (long)kvHead * dv, View.VRow, dv, count, values, dv);
            for (int g = 0; g < View.Group; g++)
                for (int p = 0; p < panels; p++)
                {
                    int query = first + p * NR, lanes = Math.Min(NR, end - query);
                    (int low, int high) = View.Reach(s, query, query + lanes - 1);
                    (low, high) = (Math.Max(low, key), Math.Min(high, key + count));
                    if (low >= high)
                        continue;
                    long at = low - key, state = g * QueryBlock + p * NR;
                    float* output = outputs + (g * panels + p) * OutputPanel;
                    LooseProduct<V>.Multiply(Tiles(high - low), NR, d, new(keys + at * d, d), new(queries + state * d, NR), new(scores, NR), accumulate: false);
                    View.HideInPanel(scores, NR, s, query, lanes, low, high - low);
                    for (int lane = 0; lane < NR; lane += V.Count)
                        Absorb(scores + lane, high - low, max + state + lane, sum + state + lane, output + lane);
                    LooseProduct<V>.Multiply(Tiles(dv), NR, high - low, new(values + at * dv, 1, dv), new(scores, NR), new(output, NR), accumulate: true);
                }
        }
        for (int g = 0; g < View.Group; g++)
            for (int p = 0; p < panels; p++)
                Finish(s, kvHead * View.Group + g, first + p * NR, Math.Min(NR, end - first - p * NR), max + g * QueryBlock + p * NR,
                    sum + g * QueryBlock + p * NR, outputs + (g * panels + p) * OutputPanel, scores);
    }

    /// <summary>One head's queries turned to panels [k][query] and scaled, its outputs, maxima and sums as they are before any key: those of its sink.</summary>
    private readonly void Begin(in Sequence s, int head, int first, int end, float* queries, float* outputs, float* max, float* sum)
    {
        int d = View.Layout.HeadDim, panels = (end - first + NR - 1) / NR;
        Gemm<V>.PackAcross<F32>(View.Q + (s.Query + first) * View.QRow + (long)head * d, 0, View.QRow, end - first, d, queries, NR);
        RowMath<V>.Scale(View.Layout.Scale, queries, panels * d * NR);
        new Span<float>(outputs, (int)(panels * OutputPanel)).Clear();
        new Span<float>(max, QueryBlock).Fill(View.Sinks == null ? float.MinValue : View.Sinks[head]);   // finite: no ∞ − ∞ where all is hidden
        new Span<float>(sum, QueryBlock).Fill(View.Sinks == null ? 0 : 1);
    }

    /// <summary>
    /// Turns one vector of queries' scores into e^(score − max) under maxima that may have risen, and what was summed before with them.
    /// One vector at a time, and one exponential in a loop: more of them, and the JIT begins to call instead of inlining.
    /// </summary>
    private readonly void Absorb(float* scores, int count, float* max, float* sum, float* output)
    {
        V old = V.Load(max), top = old;
        for (int j = 0; j < count; j++)
            top = V.Higher(V.Load(scores + j * NR), top);
        top.Store(max);
        V total = V.Load(sum);
        if (V.Sum(top - old) > 0)
            total *= Shrink(old - top, output);
        for (int j = 0; j < count; j++)
        {
            V e = LanesMath.Decay(V.Load(scores + j * NR) - top);
            e.Store(scores + j * NR);
            total += e;
        }
        total.Store(sum);
    }

    /// <summary>Multiplies a vector of queries' outputs by e^fall and returns that.</summary>
    private readonly V Shrink(V fall, float* output)
    {
        V shrink = LanesMath.Decay(fall);
        for (int c = 0; c < View.Layout.ValueDim; c++)
            (V.Load(output + c * NR) * shrink).Store(output + c * NR);
        return shrink;
    }

    /// <summary>Divides a panel's outputs by their sums and turns them back into rows of y.</summary>
    private readonly void Finish(in Sequence s, int head, int first, int count, float* max, float* sum, float* output, float* turned)
    {
        int dv = View.Layout.ValueDim;
        V zero = V.Of(0), sum0 = V.Load(sum), sum1 = V.Load(sum + V.Count);
        V share0 = V.IfPositive(sum0, V.Of(1) / sum0, zero), share1 = V.IfPositive(sum1, V.Of(1) / sum1, zero);
        for (int c = 0; c < dv; c++)
        {
            (V.Load(output + c * NR) * share0).Store(output + c * NR);
            (V.Load(output + c * NR + V.Count) * share1).Store(output + c * NR + V.Count);
        }
        Packing.Across<F32>(output, 0, NR, dv, NR, turned, dv);
        for (int i = 0; i < count; i++)
        {
            new Span<float>(turned + i * dv, dv).CopyTo(new Span<float>(View.Y + (s.Query + first + i) * View.YRow + (long)head * dv, dv));
            if (sum[i] > 0)
                View.Lse[(long)(s.Query + first + i) * View.Layout.Heads + head] = max[i] + MathF.Log(sum[i]);
        }
    }
}
