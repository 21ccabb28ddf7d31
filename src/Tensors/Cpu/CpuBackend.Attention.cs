using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y)
    {
        Check.Same(y, x);
        Turn(x, positions, frequencies, layout, y, back: false);
    }

    public void RopeGrad(Tensor dy, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor dx)
    {
        Check.Same(dx, dy);
        Turn(dy, positions, frequencies, layout, dx, back: true);
    }

    public void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout, Tensor y, Tensor lse)
    {
        Check.Attention(q, k, v, sequences, visible, sinks, layout, y, lse);
        AttentionView view = View(q, k, v, sequences, visible, sinks, layout, y, lse);
        Fill(y, 0);
        Fill(lse, sinks is null ? float.NegativeInfinity : 0);
        if (sinks is not null)
            Outer(null, sinks, lse);
        RunAttention(view, sequences.Rows);
    }

    private void RunAttention(in AttentionView view, int sequences)
    {
        BlockAttention<V> job = new() { View = view, Count = sequences };
        long work = 0;
        for (int i = 0; i < sequences; i++)
        {
            ref readonly Sequence s = ref view.Sequences[i];
            if (CachedAttention<V>.Takes(s))
                continue;
            job.Blocks = Math.Max(job.Blocks, job.QueryBlocks(s));
            work += (long)s.Queries * s.Keys * view.QRow;
        }
        CachedAttention<V>.Run(_pool, _scratch, view, sequences);
        if (job.Blocks == 0)
            return;
        job.Scratch = _scratch.Get<float>(job.ScratchPerWorker * _pool.Threads);
        _pool.Run(job.Blocks * sequences * view.Layout.KvHeads, job, alone: work < 2 * Piece);
    }

    public void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout,
        Tensor y, Tensor lse, Tensor dy, Tensor? dq, Tensor? dk, Tensor? dv, Tensor? dsinks)
    {
        Check.Attention(q, k, v, sequences, visible, sinks, layout, y, lse);
        Check.AttentionGrad(q, k, v, sinks, y, dy, dq, dk, dv, dsinks);
        AttentionView view = View(q, k, v, sequences, visible, sinks, layout, y, lse);
        BlockAttentionGrad<V> job = new() { View = view, Dy = dy.Pointer<float>(), Dq = Floats(dq), Dk = Floats(dk), Dv = Floats(dv) };
        job.Scratch = _scratch.Get<float>(job.ScratchPerWorker * _pool.Threads);
        _pool.Run(sequences.Rows * layout.KvHeads, job, alone: KeysOverlap(view.Sequences, sequences.Rows));
        if (dsinks is not null)
            Rows(0, layout.Heads, (long)y.Rows * layout.ValueDim, new SinksGradRow { View = view, Dy = dy.Pointer<float>(), Dsinks = dsinks.Pointer<float>(), Count = y.Rows });
    }

    /// <summary>Whether two sequences read the same keys, whose gradients then must be summed one sequence after the other.</summary>
    private static bool KeysOverlap(Sequence* s, int count)
    {
        for (int i = 1; i < count; i++)
            for (int j = 0; j < i; j++)
                if (s[i].Key < s[j].Key + s[j].Keys && s[j].Key < s[i].Key + s[i].Keys)
                    return true;
        return false;
    }

    private static AttentionView View(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout,
        Tensor y, Tensor lse) =>
        new()
        {
            Q = q.Pointer<float>(),
            K = k.Pointer<byte>(),
            V = v.Pointer<byte>(),
            Stored = k.DType,
            Y = y.Pointer<float>(),
            Lse = lse.Pointer<float>(),
            Sinks = Floats(sinks),
            Sequences = (Sequence*)sequences.Pointer<int>(),
            Visible = visible is null ? null : visible.Pointer<int>(),
            VisibleCols = visible?.Cols ?? 0,
            Layout = layout,
        };

    private void Turn(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y, bool back)
    {
        Check.Rope(x, positions, frequencies, layout);
        int highest = -1;
        bool negative = false;
        foreach (int position in positions.Host<int>())
            (highest, negative) = (Math.Max(highest, position), negative | position < 0);
        bool shared = !negative && highest < x.Rows / 2;   // several rows stand at each position, as in a batch of sequences
        RopeTurns turns = new()
        {
            Frequencies = frequencies.Pointer<float>(),
            Turns = _scratch.Get<float>(2L * layout.Pairs * (shared ? highest + 1 : _pool.Threads)),
            Layout = layout,
            Back = back,
        };
        if (shared)
            Rows(0, highest + 1, 16L * layout.Pairs, turns);
        Rows(0, x.Rows, x.Cols + (shared ? 0 : 8L * layout.HeadDim), new RopeRow
        {
            X = x.Pointer<float>(),
            Y = y.Pointer<float>(),
            Positions = positions.Pointer<int>(),
            Turns = turns,
            Shared = shared,
            D = x.Cols,
            Layout = layout,
            Back = back,
        });
    }

    /// <summary>dsinks[h] −= Σ_t e^(sinks[h] − lse[t,h]) · Σ_d dy[t,h,d] · y[t,h,d]: one head, whose sum has one order.</summary>
    private struct SinksGradRow : IRow
    {
        public AttentionView View;
        public float* Dy, Dsinks;
        public int Count;

        public readonly void Row(long head, int worker)
        {
            double sum = 0;
            for (long t = 0; t < Count; t++)
            {
                long at = t * View.YRow + head * View.Layout.ValueDim;
                float share = MathF.Exp(View.Sinks[head] - View.Lse[t * View.Layout.Heads + head]);
                sum += share * RowMath<V>.Dot(Dy + at, View.Y + at, View.Layout.ValueDim);
            }
            Dsinks[head] -= (float)sum;
        }
    }

    /// <summary>The cosines of a position's angles, then their sines, both times the magnitude; sines the other way round for the way back.</summary>
    private struct RopeTurns : IRow
    {
        public float* Frequencies, Turns;
        public RopeLayout Layout;
        public bool Back;

        /// <summary>To the position's own place.</summary>
        public readonly void Row(long position, int worker) => Write((int)position, Turns + 2 * position * Layout.Pairs);

        public readonly void Write(int position, float* cos)
        {
            int half = Layout.Pairs;
            for (int i = 0; i < half; i++)
            {
                (float s, float c) = MathF.SinCos(position * Frequencies[i]);
                (cos[half + i], cos[i]) = (Layout.Magnitude * (Back ? -s : s), Layout.Magnitude * c);
            }
        }
    }

    private struct RopeRow : IRow
    {
        public float* X, Y;
        public int* Positions;
        public RopeTurns Turns;
        public bool Shared;
        public int D;
        public RopeLayout Layout;
        public bool Back;

        public readonly void Row(long row, int worker)
        {
            int half = Layout.Pairs, after = Layout.First + 2 * half;
            float* cos = Turns.Turns + 2L * half * (Shared ? Positions[row] : worker), sin = cos + half;
            if (!Shared)
                Turns.Write(Positions[row], cos);
            for (int head = 0; head < D; head += Layout.HeadDim)
            {
                float* x = X + row * D + head, y = Y + row * D + head;
                Pass(x, y, Layout.First);
                if (Layout.Interleaved)
                    TurnNeighbours(x + Layout.First, cos, sin, y + Layout.First, half);
                else
                    TurnHalves(x + Layout.First, cos, sin, y + Layout.First, half);
                Pass(x + after, y + after, Layout.HeadDim - after);
            }
        }

        /// <summary>Columns that do not turn.</summary>
        private readonly void Pass(float* x, float* y, int count)
        {
            if (Back)
                RowMath<V>.AddScaled(1, x, y, count);
            else
                new Span<float>(x, count).CopyTo(new Span<float>(y, count));
        }

        private readonly void TurnHalves(float* x, float* cos, float* sin, float* y, int half)
        {
            int i = 0;
            for (; i <= half - V.Count; i += V.Count)
            {
                V a = V.Load(x + i), b = V.Load(x + half + i), c = V.Load(cos + i), s = V.Load(sin + i);
                V first = a * c - b * s, second = b * c + a * s;
                (Back ? V.Load(y + i) + first : first).Store(y + i);
                (Back ? V.Load(y + half + i) + second : second).Store(y + half + i);
            }
            for (; i < half; i++)
                Pair(x[i], x[half + i], cos[i], sin[i], y + i, y + half + i);
        }

        private readonly void TurnNeighbours(float* x, float* cos, float* sin, float* y, int half)
        {
            for (int i = 0; i < half; i++)
                Pair(x[2 * i], x[2 * i + 1], cos[i], sin[i], y + 2 * i, y + 2 * i + 1);
        }

        private readonly void Pair(float a, float b, float cos, float sin, float* first, float* second)
        {
            *first = (Back ? *first : 0) + (a * cos - b * sin);
            *second = (Back ? *second : 0) + (b * cos + a * sin);
        }
    }
}
