namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Attention backward: P = e^(scale · q kᵀ − lse) again, dP = dy vᵀ, dS = scale · P · (dP − Σ dy · y); then dq += dS k,
/// dk += dSᵀ q, dv += Pᵀ dy. As on the way there (<see cref="BlockAttention{V}"/>) one lane is one query and P and dS stand on end,
/// [key][query]; the three products read them along or across as they need. A block of queries, turned and as it is, meets one block of
/// keys after the other: all together fills half of a 512 KB second-level cache at 64 columns. Tiles of which nothing is seen are left
/// out, so causality saves half. A piece is a whole (sequence, key head), queries outside, keys inside: each sum has one order and
/// nobody else writes to it.
/// </summary>
internal unsafe struct BlockAttentionGrad<V> : IJob where V : struct, ILanes<V>
{
    /// <summary>Whole tiles of keys by 6, and of queries by 6 and by 8, 16 and 32.</summary>
    private const int Block = 96;

    public AttentionView View;
    public float* Dy, Dq, Dk, Dv, Scratch;

    private static int MR => LooseProduct<V>.MR;
    private static int NR => LooseProduct<V>.NR;

    /// <summary>Head columns in whole panels: what a product reads beyond them is there, and zero.</summary>
    private readonly int D => (View.Layout.HeadDim + NR - 1) / NR * NR;
    private readonly int Dvalue => (View.Layout.ValueDim + NR - 1) / NR * NR;

    /// <summary>Floats: a block of keys and values, of queries and dy both ways, P and dS, lse and Σ dy · y.</summary>
    public readonly long ScratchPerWorker => 3L * Block * (D + Dvalue) + 2 * Block * Block + 2 * Block;

    public readonly void Run(int index, int worker)
    {
        ref readonly Sequence s = ref View.Sequences[index / View.Layout.KvHeads];
        int kvHead = index % View.Layout.KvHeads;
        Blocks blocks = new(Scratch + worker * ScratchPerWorker, D, Dvalue);
        for (int head = kvHead * View.Group; head < (kvHead + 1) * View.Group; head++)
            for (int first = 0; first < s.Queries; first += Block)
            {
                int rows = Math.Min(Block, s.Queries - first);
                (int from, int to) = View.Reach(s, first, first + rows - 1);
                if (from < to)
                    LoadQueries(s, head, first, rows, blocks);
                for (int key = from; key < to; key += Block)
                    Meet(s, head, first, rows, key, Math.Min(Block, to - key), blocks);
            }
    }

    /// <summary>Where a worker's blocks lie; d and dv in whole panels.</summary>
    private readonly struct Blocks(float* at, long d, long dv)
    {
        public readonly float* Keys = at, Values = at + Block * d;
        public readonly float* Queries = at + Block * (d + dv), Dy = at + Block * (2 * d + dv);
        public readonly float* QueriesTurned = at + Block * (2 * d + 2 * dv), DyTurned = at + Block * (3 * d + 2 * dv);
        public readonly float* P = at + Block * (3 * d + 3 * dv), Ds = at + Block * (3 * d + 3 * dv + Block);
        public readonly float* Lse = at + Block * (3 * d + 3 * dv + 2 * Block), Delta = at + Block * (3 * d + 3 * dv + 2 * Block + 1);
    }

    private readonly void LoadQueries(in Sequence s, int head, int first, int rows, in Blocks to)
    {
        int d = View.Layout.HeadDim, dv = View.Layout.ValueDim;
        float* q = View.Q + (s.Query + first) * View.QRow + (long)head * d;
        long at = (s.Query + first) * View.YRow + (long)head * dv;
        Packing.Along<V, F32>(q, 0, View.QRow, d, rows, to.Queries, D);
        Packing.Along<V, F32>(Dy + at, 0, View.YRow, dv, rows, to.Dy, Dvalue);
        Gemm<V>.PackAcross<F32>(q, 0, View.QRow, rows, d, to.QueriesTurned, NR);
        RowMath<V>.Scale(View.Layout.Scale, to.QueriesTurned, (rows + NR - 1) / NR * NR * d);
        Gemm<V>.PackAcross<F32>(Dy + at, 0, View.YRow, rows, dv, to.DyTurned, NR);
        for (int i = 0; i < Block; i++)
        {
            float lse = i < rows ? View.Lse[(long)(s.Query + first + i) * View.Layout.Heads + head] : float.NegativeInfinity;
            to.Lse[i] = float.IsNegativeInfinity(lse) ? float.PositiveInfinity : lse;   // who sees nothing: all P = 0
            to.Delta[i] = i < rows ? RowMath<V>.Dot(Dy + at + i * View.YRow, View.Y + at + i * View.YRow, dv) : 0;
        }
    }

    /// <summary>One block of queries meets one block of keys.</summary>
    private readonly void Meet(in Sequence s, int head, int first, int rows, int key, int count, in Blocks b)
    {
        int d = View.Layout.HeadDim, dv = View.Layout.ValueDim, kvHead = head / View.Group;
        long keyAt = (s.Key + key) * View.KRow + (long)kvHead * d, valueAt = (s.Key + key) * View.VRow + (long)kvHead * dv;
        Packing.Along<V, F32>(View.K, keyAt, View.KRow, d, count, b.Keys, D);
        Packing.Along<V, F32>(View.V, valueAt, View.VRow, dv, count, b.Values, Dvalue);
        for (int query = 0; query < rows; query += NR)
            Panel(s, first + query, Math.Min(NR, rows - query), key, count, query, b);

        for (int j = 0; j < count; j += MR)
        {
            (int from, int to) = View.Seers(s, key + j, Math.Min(key + j + MR, key + count) - 1);
            (from, to) = (Math.Max(from - first, 0), Math.Min(to - first, rows));
            if (from >= to)
                continue;
            Strided p = new(b.P + j * Block + from, Block), ds = new(b.Ds + j * Block + from, Block);
            if (Dv != null)
                LooseProduct<V>.Multiply(Math.Min(MR, count - j), dv, to - from, p, new(b.Dy + from * Dvalue, Dvalue), new(Dv + valueAt + j * View.VRow, View.VRow), accumulate: true);
            if (Dk != null)
                LooseProduct<V>.Multiply(Math.Min(MR, count - j), d, to - from, ds, new(b.Queries + from * D, D), new(Dk + keyAt + j * View.KRow, View.KRow), accumulate: true);
        }
        for (int i = 0; i < rows && Dq != null; i += MR)
        {
            (int from, int to) = View.Reach(s, first + i, Math.Min(first + i + MR, first + rows) - 1);
            (from, to) = (Math.Max(from - key, 0), Math.Min(to - key, count));
            if (from >= to)
                continue;
            LooseProduct<V>.Multiply(Math.Min(MR, rows - i), d, to - from, new(b.Ds + from * Block + i, 1, Block), new(b.Keys + from * D, D),
                new(Dq + (s.Query + first + i) * View.QRow + (long)head * d, View.QRow), accumulate: true);
        }
    }

    /// <summary>P and dS of the queries of one panel, zero where nothing is seen.</summary>
    private readonly void Panel(in Sequence s, int first, int lanes, int key, int count, int at, in Blocks b)
    {
        int d = View.Layout.HeadDim, dv = View.Layout.ValueDim;
        (int from, int to) = View.Reach(s, first, first + lanes - 1);
        (from, to) = (Math.Clamp(from - key, 0, count), Math.Clamp(to - key, 0, count));
        float* p = b.P + at, ds = b.Ds + at;
        int low = from / MR * MR, tiles = (to - low + MR - 1) / MR * MR;
        LooseProduct<V>.Multiply(tiles, NR, d, new(b.Keys + low * D, D), new(b.QueriesTurned + at * d, NR), new(p + low * Block, Block), accumulate: false);
        LooseProduct<V>.Multiply(tiles, NR, dv, new(b.Values + low * Dvalue, Dvalue), new(b.DyTurned + at * dv, NR), new(ds + low * Block, Block), accumulate: false);
        View.HideInPanel(p + from * Block, Block, s, first, lanes, key + from, to - from);

        for (int lane = 0; lane < NR; lane += V.Count)
            Slopes(p + lane, ds + lane, b.Lse + at + lane, b.Delta + at + lane, count, from, to);
    }

    /// <summary>Scores → P, dP → dS for one vector of queries and the keys from … to − 1 of a block; zeros for the others.</summary>
    private readonly void Slopes(float* p, float* ds, float* lse, float* delta, int count, int from, int to)
    {
        V zero = V.Of(0), scale = V.Of(View.Layout.Scale), minusLse = V.Load(lse), minusDelta = V.Load(delta);
        for (int j = 0; j < count; j++, p += Block, ds += Block)
        {
            V share = zero, slope = zero;
            if (j >= from && j < to)
            {
                share = LanesMath.Decay(V.Load(p) - minusLse);
                slope = scale * share * (V.Load(ds) - minusDelta);
            }
            share.Store(p);
            slope.Store(ds);
        }
    }
}
