namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Attention backward: P = e^(scale · q kᵀ − lse) again, dP = dy vᵀ, dS = scale · P · (dP − Σ dy · y); then dq += dS k,
/// dk += dSᵀ q, dv += Pᵀ dy. A piece is a whole (sequence, key head): keys outside, queries inside, so each sum has one
/// order and nobody else writes to it.
/// </summary>
internal unsafe struct FlashAttentionGrad<V> : IJob where V : struct, ILanes<V>
{
    private const int KeyBlock = 64;

    public AttentionView View;
    public float* Dy, Dq, Dk, Dv, Scratch;

    private static int MR => GemmKernels<V>.MR;
    private static int NR => GemmKernels<V>.NR;
    private static int QueryBlock => 64 / MR * MR;

    /// <summary>Room for a block of keys or values, and for one of queries or dy: the wider of the two.</summary>
    private readonly long KeyBlockFloats => KeyBlock * (long)(Math.Max(View.Layout.HeadDim, View.Layout.ValueDim) + NR);
    private readonly long QueryBlockFloats => QueryBlock * (long)(Math.Max(View.Layout.HeadDim, View.Layout.ValueDim) + NR);

    /// <summary>Room for P or dS packed either way: lines are padded to whole tiles.</summary>
    private static long TileFloats => (QueryBlock + MR) * (long)(KeyBlock + MR);

    /// <summary>Floats: a block of keys two ways and of values, of queries or dy, P, dS and one of them packed.</summary>
    public readonly long ScratchPerWorker => 3 * KeyBlockFloats + QueryBlockFloats + 3 * TileFloats;

    public readonly void Run(int index, int worker)
    {
        ref readonly Sequence s = ref View.Sequences[index / View.Layout.KvHeads];
        int kvHead = index % View.Layout.KvHeads, d = View.Layout.HeadDim, dv = View.Layout.ValueDim;
        float* keysAcross = Scratch + worker * ScratchPerWorker, valuesAcross = keysAcross + KeyBlockFloats, keysAlong = valuesAcross + KeyBlockFloats;
        float* scratch = keysAlong + KeyBlockFloats;
        for (int key = 0; key < s.Keys; key += KeyBlock)
        {
            int count = Math.Min(KeyBlock, s.Keys - key);
            long keyAt = (s.Key + key) * View.KRow + (long)kvHead * d, valueAt = (s.Key + key) * View.VRow + (long)kvHead * dv;
            Gemm<V>.PackAcross<F32>(View.K + keyAt, 0, View.KRow, count, d, keysAcross, NR);
            Gemm<V>.PackAcross<F32>(View.V + valueAt, 0, View.VRow, count, dv, valuesAcross, NR);
            Gemm<V>.PackAlong<F32>(View.K + keyAt, 0, View.KRow, d, count, keysAlong, NR);
            for (int head = kvHead * View.Group; head < (kvHead + 1) * View.Group; head++)
                for (int first = 0; first < s.Queries; first += QueryBlock)
                {
                    int rows = Math.Min(QueryBlock, s.Queries - first);
                    (int from, int to) = View.Reach(s, first, first + rows - 1);
                    if (from < key + count && to > key)
                        Block(s, head, first, rows, key, count, keyAt, valueAt, keysAcross, valuesAcross, keysAlong, scratch);
                }
        }
    }

    /// <summary>One block of queries against one block of keys.</summary>
    private readonly void Block(in Sequence s, int head, int first, int rows, int key, int count, long keyAt, long valueAt,
        float* keysAcross, float* valuesAcross, float* keysAlong, float* scratch)
    {
        int d = View.Layout.HeadDim, dv = View.Layout.ValueDim;
        long qRow = View.QRow, yRow = View.YRow, at = (s.Query + first) * qRow + (long)head * d, yAt = (s.Query + first) * yRow + (long)head * dv;
        float* packed = scratch, slopes = packed + QueryBlockFloats, probabilities = slopes + TileFloats, tile = probabilities + TileFloats;

        Gemm<V>.PackAcross<F32>(View.Q + at, 0, qRow, rows, d, packed, MR);
        Gemm<V>.Multiply(rows, count, d, packed, keysAcross, probabilities, KeyBlock, accumulate: false);
        Gemm<V>.PackAcross<F32>(Dy + yAt, 0, yRow, rows, dv, packed, MR);
        Gemm<V>.Multiply(rows, count, dv, packed, valuesAcross, slopes, KeyBlock, accumulate: false);
        for (int i = 0; i < rows; i++)
        {
            float lse = View.Lse[(long)(s.Query + first + i) * View.Layout.Heads + head];
            float delta = RowMath<V>.Dot(Dy + yAt + i * yRow, View.Y + yAt + i * yRow, dv);
            Slope(s, first + i, key, count, lse, delta, probabilities + i * KeyBlock, slopes + i * KeyBlock);
        }

        if (Dq != null)
        {
            Gemm<V>.PackAcross<F32>(slopes, 0, KeyBlock, rows, count, tile, MR);
            Gemm<V>.Multiply(rows, d, count, tile, keysAlong, Dq + at, qRow, accumulate: true);
        }
        if (Dk != null)
            AddTransposed(slopes, rows, count, View.Q + at, qRow, d, tile, packed, Dk + keyAt, View.KRow);
        if (Dv != null)
            AddTransposed(probabilities, rows, count, Dy + yAt, yRow, dv, tile, packed, Dv + valueAt, View.VRow);
    }

    /// <summary>Scores → P in place, dP → dS in place, for one query.</summary>
    private readonly void Slope(in Sequence s, int i, int key, int count, float lse, float delta, float* scores, float* slopes)
    {
        if (float.IsNegativeInfinity(lse))
        {
            new Span<float>(scores, count).Clear();
            new Span<float>(slopes, count).Clear();
            return;
        }
        View.ScaleAndHide<V>(scores, s, i, key, count);
        RowMath<V>.Exp(scores, lse, scores, count);
        V minus = V.Of(delta), scale = V.Of(View.Layout.Scale);
        int j = 0;
        for (; j <= count - V.Count; j += V.Count)
            (scale * V.Load(scores + j) * (V.Load(slopes + j) - minus)).Store(slopes + j);
        for (; j < count; j++)
            slopes[j] = View.Layout.Scale * scores[j] * (slopes[j] - delta);
    }

    /// <summary>dk += Mᵀ · x for M [rows, count] and x the block's rows, of q or dy, of d floats.</summary>
    private static void AddTransposed(float* m, int rows, int count, float* x, long xRow, int d, float* tile, float* packed, float* dk, long dkRow)
    {
        Gemm<V>.PackAlong<F32>(m, 0, KeyBlock, count, rows, tile, MR);
        Gemm<V>.PackAlong<F32>(x, 0, xRow, d, rows, packed, NR);
        Gemm<V>.Multiply(count, d, rows, tile, packed, dk, dkRow, accumulate: true);
    }
}
