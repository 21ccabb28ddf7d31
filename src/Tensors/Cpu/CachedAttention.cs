namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Attention forward for a few queries over many keys, as in decoding, where reading keys and values is all the work. A piece is a
/// chunk of a sequence's keys with all heads: whole rows, read once and where they lie, four at a time, with the next four asked
/// for meanwhile, while queries, scores and sums stay in the first level of the cache. Each piece
/// leaves a maximum, a sum and an unnormalised output per query and head (Dao et al., 2022), which <see cref="Merge"/>
/// brings together in the order of the chunks. Chunks follow from the number of keys alone. Keys and values of 16 bits are
/// widened a block at a time into the second level of the cache, and one code computes.
/// </summary>
internal unsafe struct CachedAttention<V> : IJob where V : struct, ILanes<V>
{
    private const int FewQueries = 8, Block = 32, MostChunks = 64;
    private const int CacheResident = 1 << 18;         // bytes of keys and values, as in Matvec
    private const int Ahead = 4096;                    // bytes of 16-bit rows, asked for before they are widened

    private AttentionView _view;
    private int _queries, _chunk, _chunks;
    private bool _ask;
    private float* _partials, _scores, _wide;

    /// <summary>Whether a sequence has few queries.</summary>
    public static bool Takes(in Sequence s) => s.Queries <= FewQueries;

    /// <summary>Runs those of the sequences that have few queries. y, lse: as for queries that see nothing.</summary>
    public static void Run(WorkerPool pool, Scratch scratch, in AttentionView view, int sequences)
    {
        CachedAttention<V> job = new() { _view = view };
        int longest = 0;
        long work = 0;
        for (int i = 0; i < sequences; i++)
        {
            ref readonly Sequence s = ref view.Sequences[i];
            if (!Takes(s) || s.Queries == 0)
                continue;
            (int from, int to) = view.Reach(s, 0, s.Queries - 1);
            longest = Math.Max(longest, to - from);
            job._queries = Math.Max(job._queries, s.Queries);
            work += (long)s.Queries * (to - from) * view.QRow;
        }
        if (longest == 0)
            return;
        job._chunk = Block * Blocks(longest, Block * MostChunks);
        job._chunks = Blocks(longest, job._chunk);
        job._ask = view.Stored == DType.F32 && longest * (view.KRow + view.VRow) * sizeof(float) >= CacheResident;
        long partials = (long)sequences * job._chunks * job.Partial, scores = (long)job._queries * view.Layout.Heads * Block;
        job._partials = scratch.Get<float>(partials + pool.Threads * (scores + job.Wide));
        job._scores = job._partials + partials;
        job._wide = job._scores + pool.Threads * scores;
        pool.Run(sequences * job._chunks, job, alone: work < 1 << 16);
        pool.Run(sequences * job._queries, new Merge { Of = job }, alone: work < 1 << 22);
    }

    public readonly void Run(int index, int worker)
    {
        ref readonly Sequence s = ref _view.Sequences[index / _chunks];
        if (!Takes(s) || s.Queries == 0)
            return;
        (int from, int to) = _view.Reach(s, 0, s.Queries - 1);
        from += index % _chunks * _chunk;
        to = Math.Min(to, from + _chunk);

        int states = s.Queries * _view.Layout.Heads;
        float* max = _partials + index * Partial, sum = max + states, y = sum + states;
        float* scores = _scores + (long)worker * _queries * _view.Layout.Heads * Block, wide = _wide + worker * Wide;
        new Span<float>(max, states).Fill(float.NegativeInfinity);
        new Span<float>(sum, states * (1 + _view.Layout.ValueDim)).Clear();
        for (int key = from; key < to; key += Block)
            Attend(s, key, Math.Min(Block, to - key), max, sum, y, scores, wide);
    }

    /// <summary>Maxima, sums and outputs of one chunk.</summary>
    private readonly long Partial => (long)_queries * _view.Layout.Heads * (2 + _view.Layout.ValueDim);

    /// <summary>Floats of a block's widened keys, and then of its values.</summary>
    private readonly long Wide => _view.Stored == DType.F32 ? 0 : Block * Math.Max(_view.KRow, _view.VRow);

    private static int Blocks(int count, int size) => (count + size - 1) / size;

    private readonly void Attend(in Sequence s, int key, int count, float* max, float* sum, float* y, float* scores, float* wide)
    {
        int quarter = count / 4, heads = _view.Layout.Heads, d = _view.Layout.HeadDim, dv = _view.Layout.ValueDim, group = _view.Group;
        float* keys = Floats(_view.K, s.Key + key, count, _view.KRow, wide), queries = _view.Q + s.Query * _view.QRow;

        for (int j = 0; j < count; j = Next(j, quarter))
            for (int state = 0; state < s.Queries * heads;)
                for (int h = 0; h < heads / group; h++)
                {
                    float* k = keys + j * _view.KRow + h * d;
                    if (j >= quarter)
                    {
                        for (int g = 0; g < group; g++, state++)
                            scores[state * Block + j] = RowMath<V>.Dot(queries + (long)state * d, k, d);
                        continue;
                    }
                    if (_ask && state < heads)
                        Prefetch.FourRows(j + 1 < quarter ? k + _view.KRow : Row(_view.V, s.Key + key, _view.VRow) + h * dv, quarter * _view.KRow, d);
                    MatvecKernels<V>.Dots<F32>(group, queries + (long)state * d, d, k, quarter * _view.KRow, d, scores + state * Block + j, Block, quarter);
                    state += group;
                }
        for (int state = 0; state < s.Queries * heads; state++)
        {
            _view.ScaleAndHide<V>(scores + state * Block, s, state / heads, key, count);
            Absorb(scores + state * Block, count, ref max[state], ref sum[state], y + (long)state * dv, dv);
        }
        float* values = Floats(_view.V, s.Key + key, count, _view.VRow, wide);
        for (int j = 0; j < count; j = Next(j, quarter))
            for (int state = 0; state < s.Queries * heads;)
                for (int h = 0; h < heads / group; h++)
                {
                    float* v = values + j * _view.VRow + h * dv;
                    if (_ask && state < heads && j < quarter)
                        Prefetch.FourRows(j + 1 < quarter ? v + _view.VRow : Row(_view.K, s.Key + key + count, _view.KRow) + h * d, quarter * _view.VRow, dv);
                    for (int g = 0; g < group; g++, state++)
                        if (j < quarter)
                            MatvecKernels<V>.Add4<F32>(scores + state * Block + j, v, quarter * _view.VRow, dv, y + (long)state * dv, quarter);
                        else
                            RowMath<V>.AddScaled(scores[state * Block + j], v, y + (long)state * dv, dv);
                }
    }

    /// <summary>Rows of keys or values: where they lie, or widened.</summary>
    private readonly float* Floats(void* cache, long row, int count, long size, float* wide)
    {
        if (_view.Stored == DType.F32)
            return Row(cache, row, size);
        int bytes = (int)size * _view.Stored.Size();
        byte* from = (byte*)cache + row * bytes, ahead = from + Ahead, end = from + (long)count * bytes;
        Prefetch.Begin(from, Ahead, end);
        for (float* to = wide; from < end; from += bytes, to += size)
        {
            Prefetch.Next(bytes, ref ahead, end);
            Packing.Along<V>(_view.Stored, from, 0, 0, (int)size, 1, to, (int)size);
        }
        return wide;
    }

    private static float* Row(void* rows, long row, long size) => (float*)rows + row * size;

    /// <summary>Turns scores into e^(score − max) under a maximum that may have risen, and what was summed before with it.</summary>
    private static void Absorb(float* scores, int count, ref float max, ref float sum, float* y, int dv)
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

    /// <summary>The first quarter's rows take one of each other quarter along; what is left over goes alone.</summary>
    private static int Next(int j, int quarter) => j == quarter - 1 ? 4 * quarter : j + 1;

    /// <summary>One query: y = Σ_c e^(max_c − max) · y_c / sum, sum = Σ_c e^(max_c − max) · sum_c, a sink being a chunk without output.</summary>
    private struct Merge : IJob
    {
        public CachedAttention<V> Of;

        public readonly void Run(int index, int worker)
        {
            AttentionView view = Of._view;
            int sequence = index / Of._queries, i = index % Of._queries, heads = view.Layout.Heads, dv = view.Layout.ValueDim;
            ref readonly Sequence s = ref view.Sequences[sequence];
            if (!Takes(s) || i >= s.Queries)
                return;
            int states = s.Queries * heads;
            for (int head = 0; head < heads; head++)
            {
                int state = i * heads + head;
                float* part = Of._partials + (long)sequence * Of._chunks * Of.Partial;
                float top = view.Sinks == null ? float.NegativeInfinity : view.Sinks[head];
                for (int c = 0; c < Of._chunks; c++)
                    top = MathF.Max(top, part[c * Of.Partial + state]);
                if (float.IsNegativeInfinity(top))
                    continue;
                float sum = view.Sinks == null ? 0 : MathF.Exp(view.Sinks[head] - top);
                float* y = view.Y + (s.Query + i) * view.YRow + (long)head * dv;
                for (int c = 0; c < Of._chunks; c++, part += Of.Partial)
                {
                    float share = MathF.Exp(part[state] - top);
                    if (share == 0)
                        continue;
                    sum += share * part[states + state];
                    RowMath<V>.AddScaled(share, part + 2 * states + (long)state * dv, y, dv);
                }
                RowMath<V>.Scale(1 / sum, y, dv);
                view.Lse[(long)(s.Query + i) * heads + head] = top + MathF.Log(sum);
            }
        }
    }
}
