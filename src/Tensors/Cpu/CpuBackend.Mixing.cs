using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept)
    {
        Check.Same(kept, mask);
        Check.Same(scores, mask);
        Check.Room(room, mask.Cols);
        fixed (int* capacity = room)
            Rows(0, mask.Cols, 8L * mask.Rows, new TokensOfExpert
            {
                Mask = mask.Pointer<float>(),
                Scores = scores is null ? null : scores.Pointer<float>(),
                Kept = kept.Pointer<float>(),
                Room = capacity,
                Work = _scratch.Get<ulong>(2L * mask.Rows * _pool.Threads),
                T = mask.Rows,
                E = mask.Cols,
            });
    }

    public void BandSoftmax(Tensor x, Tensor mask, float band, Tensor y)
    {
        Check.Same(mask, x);
        Check.Same(y, x);
        Rows(0, x.Rows, 8L * x.Cols, new BandRow
        {
            X = x.Pointer<float>(),
            Mask = mask.Pointer<float>(),
            Y = y.Pointer<float>(),
            Band = band,
            E = x.Cols,
        });
    }

    public void BandSoftmaxGrad(Tensor x, Tensor mask, float band, Tensor y, Tensor dy, Tensor dx)
    {
        Check.Same(mask, x);
        Check.Same(y, x);
        Check.Same(dy, x);
        Check.Same(dx, x);
        Rows(0, x.Rows, 8L * x.Cols, new BandRow
        {
            X = x.Pointer<float>(),
            Mask = mask.Pointer<float>(),
            Y = y.Pointer<float>(),
            Dy = dy.Pointer<float>(),
            Dx = dx.Pointer<float>(),
            Band = band,
            E = x.Cols,
        });
    }

    /// <summary>One column: its tokens ranked, those not chosen last as NaNs, the first of them kept.</summary>
    private struct TokensOfExpert : IRow
    {
        public float* Mask, Scores, Kept;
        public int* Room;
        public ulong* Work;
        public int T, E;

        public readonly void Row(long expert, int worker)
        {
            ulong* heap = Work + 2L * worker * T;
            float* ranked = (float*)(heap + T);
            int chosen = 0;
            for (int t = 0; t < T; t++)
            {
                long at = (long)t * E + expert;
                bool wanted = Mask[at] > 0;
                float score = Scores == null ? 0 : Scores[at];
                ranked[t] = !wanted ? float.NaN : float.IsNaN(score) ? float.NegativeInfinity : score;
                chosen += wanted ? 1 : 0;
                Kept[at] = 0;
            }
            Ranking ranking = new(ranked, T, heap);
            for (int i = Math.Min(Room[expert], chosen); i > 0; i--)
                Kept[(long)ranking.Next() * E + expert] = 1;
        }
    }

    private struct BandRow : IRow
    {
        public float* X, Mask, Y, Dy, Dx;
        public float Band;
        public int E;

        public readonly void Row(long row, int worker)
        {
            float* x = X + row * E, mask = Mask + row * E, y = Y + row * E;
            for (int i = 0; i < E; i++)
            {
                if (!(mask[i] > 0))
                {
                    if (Dx == null)
                        y[i] = 0;
                    continue;
                }
                float sum = 0;
                for (int j = 0; j < E; j++)
                    sum += InBand(x, i, j) ? MathF.Exp(x[j] - x[i]) : 0;
                if (Dx == null)
                    y[i] = 1 / sum;
                else
                    Back(x, i, Dy[row * E + i] * y[i], sum, Dx + row * E);
            }
        }

        private readonly void Back(float* x, int i, float g, float sum, float* dx)
        {
            dx[i] += g;
            for (int j = 0; j < E; j++)
                if (InBand(x, i, j))
                    dx[j] -= g * MathF.Exp(x[j] - x[i]) / sum;
        }

        private readonly bool InBand(float* x, int i, int j)
        {
            bool after = x[j] < x[i] || (x[j] == x[i] && j >= i);
            return after && !((x[i] - x[j]) / MathF.Max(MathF.Abs(x[i]), MathF.Abs(x[j])) > Band);
        }
    }
}
