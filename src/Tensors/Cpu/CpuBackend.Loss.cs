using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void CrossEntropy(Tensor logits, Tensor labels, Tensor y, Tensor lse)
    {
        Check.Labels(logits, labels);
        Check.Vector(y, logits.Rows);
        Check.Vector(lse, logits.Rows);
        Rows(0, logits.Rows, 4L * logits.Cols, new CrossEntropyRow
        {
            Logits = logits.Pointer<float>(),
            Labels = labels.Pointer<int>(),
            Y = y.Pointer<float>(),
            Lse = lse.Pointer<float>(),
            D = logits.Cols,
        });
    }

    public void CrossEntropyGrad(Tensor logits, Tensor labels, Tensor lse, Tensor dy, Tensor dlogits)
    {
        Check.Labels(logits, labels);
        Check.Vector(lse, logits.Rows);
        Check.Vector(dy, logits.Rows);
        Check.Same(dlogits, logits);
        Rows(0, logits.Rows, 4L * logits.Cols, new CrossEntropyGradRow
        {
            Logits = logits.Pointer<float>(),
            Labels = labels.Pointer<int>(),
            Lse = lse.Pointer<float>(),
            Dy = dy.Pointer<float>(),
            Dlogits = dlogits.Pointer<float>(),
            D = logits.Cols,
        });
    }

    public void SumOfSquares(Tensor x, Tensor y)
    {
        Check.F32(x);
        Check.Vector(y, 1);
        int pieces = Pieces(x.Count, Piece);
        double* partial = _scratch.Get<double>(pieces);
        _pool.Run(pieces, new SumOfSquaresJob { X = x.Pointer<float>(), Count = x.Count, Partial = partial });
        double sum = 0;
        for (int i = 0; i < pieces; i++)
            sum += partial[i];
        *y.Pointer<float>() += (float)sum;
    }

    public void AdamW(Tensor g, in AdamWStep step, Tensor p, Tensor m, Tensor v)
    {
        Check.F32(p);
        Check.Vector(g, p.Count);
        Check.Vector(m, p.Count);
        Check.Vector(v, p.Count);
        Check.That(step.Step >= 1, "AdamW counts its steps from 1");
        _pool.Run(Pieces(p.Count, Piece / 4), new AdamWJob
        {
            G = g.Pointer<float>(),
            P = p.Pointer<float>(),
            M = m.Pointer<float>(),
            S = v.Pointer<float>(),
            Count = p.Count,
            Step = step,
            Rate = (float)(step.LearningRate / (1 - Math.Pow(step.Beta1, step.Step))),
            Root = (float)(1 / Math.Sqrt(1 - Math.Pow(step.Beta2, step.Step))),
        });
    }

    private struct CrossEntropyRow : IRow
    {
        public float* Logits, Y, Lse;
        public int* Labels;
        public int D;

        public readonly void Row(long row, int worker)
        {
            float* x = Logits + row * D;
            float lse = Lse[row] = RowMath<V>.LogSumExp(x, D);
            Y[row] = Labels[row] < 0 ? 0 : lse - x[Labels[row]];
        }
    }

    private struct CrossEntropyGradRow : IRow
    {
        public float* Logits, Lse, Dy, Dlogits;
        public int* Labels;
        public int D;

        public readonly void Row(long row, int worker)
        {
            if (Labels[row] < 0)
                return;
            float* x = Logits + row * D, dx = Dlogits + row * D;
            int label = Labels[row];
            float atLabel = dx[label] + Dy[row] * (MathF.Exp(x[label] - Lse[row]) - 1);
            RowMath<V>.AddExp(Dy[row], x, Lse[row], dx, D);
            dx[label] = atLabel;
        }
    }

    /// <summary>Sums of 1024 squares in F32 lanes, everything above in double.</summary>
    private struct SumOfSquaresJob : IJob
    {
        public float* X;
        public double* Partial;
        public long Count;

        public readonly void Run(int index, int worker)
        {
            const int Block = 1024;
            double sum = 0;
            long end = Math.Min(Count, (index + 1L) * Piece);
            for (long i = (long)index * Piece; i < end; i += Block)
                sum += RowMath<V>.Dot(X + i, X + i, (int)Math.Min(Block, end - i));
            Partial[index] = sum;
        }
    }

    private struct AdamWJob : IJob
    {
        public float* G, P, M, S;
        public long Count;
        public AdamWStep Step;
        public float Rate, Root;

        public readonly void Run(int index, int worker)
        {
            long start = (long)index * (Piece / 4);
            int count = (int)Math.Min(Piece / 4, Count - start), i = 0;
            float* g = G + start, p = P + start, m = M + start, s = S + start;
            for (; i <= count - V.Count; i += V.Count)
            {
                V first = V.Load(m + i), second = V.Load(s + i);
                Update(V.Load(g + i), V.Load(p + i), ref first, ref second).Store(p + i);
                first.Store(m + i);
                second.Store(s + i);
            }
            if (i < count)
            {
                int rest = count - i;
                V first = Tail.Load<V>(m + i, rest), second = Tail.Load<V>(s + i, rest);
                Tail.Store(Update(Tail.Load<V>(g + i, rest), Tail.Load<V>(p + i, rest), ref first, ref second), p + i, rest);
                Tail.Store(first, m + i, rest);
                Tail.Store(second, s + i, rest);
            }
        }

        private readonly V Update(V g, V p, ref V m, ref V v)
        {
            g *= V.Of(Step.GradScale);
            p *= V.Of(1 - Step.LearningRate * Step.WeightDecay);
            m = V.MulAdd(V.Of((float)Step.Beta1), m, V.Of((float)(1 - Step.Beta1)) * g);
            v = V.MulAdd(V.Of((float)Step.Beta2), v, V.Of((float)(1 - Step.Beta2)) * g * g);
            return p - V.Of(Rate) * m / V.MulAdd(V.Sqrt(v), V.Of(Root), V.Of(Step.Eps));
        }
    }
}
