using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void RowDot(Tensor a, Tensor? b, Tensor y)
    {
        Check.Same(b, a);
        Check.Vector(y, a.Rows);
        Rows(0, a.Rows, a.Cols, new RowDotRow { A = a.Pointer<float>(), B = Floats(b), Y = y.Pointer<float>(), D = a.Cols });
    }

    public void ColumnSum(Tensor x, Tensor? w, Tensor y)
    {
        Check.F32(x);
        if (w is not null)
            Check.Vector(w, x.Rows);
        Check.Vector(y, x.Cols);
        Columns(x.Cols, x.Rows, new ColumnSumColumns
        {
            X = x.Pointer<float>(),
            Weight = Floats(w),
            Y = y.Pointer<float>(),
            Count = x.Rows,
            D = x.Cols,
        });
    }

    public void ScaleRows(Tensor x, Tensor s, Tensor y)
    {
        Check.Same(y, x);
        Check.Vector(s, x.Rows);
        Rows(0, x.Rows, x.Cols, new OuterRow { A = s.Pointer<float>(), B = x.Pointer<float>(), BStride = x.Cols, Y = y.Pointer<float>(), D = x.Cols });
    }

    public void Outer(Tensor? a, Tensor? b, Tensor y)
    {
        Check.F32(y);
        if (a is not null)
            Check.Vector(a, y.Rows);
        if (b is not null)
            Check.Vector(b, y.Cols);
        Rows(0, y.Rows, y.Cols, new OuterRow { A = Floats(a), B = Floats(b), Y = y.Pointer<float>(), D = y.Cols });
    }

    public void Softmax(Tensor x, Tensor y)
    {
        Check.Same(y, x);
        Rows(0, x.Rows, 4L * x.Cols, new SoftmaxRow { X = x.Pointer<float>(), Y = y.Pointer<float>(), D = x.Cols });
    }

    public void SoftmaxGrad(Tensor y, Tensor dy, Tensor dx)
    {
        Check.Same(dy, y);
        Check.Same(dx, y);
        Rows(0, y.Rows, y.Cols, new SoftmaxGradRow { Y = y.Pointer<float>(), Dy = dy.Pointer<float>(), Dx = dx.Pointer<float>(), D = y.Cols });
    }

    public void LogSumExp(Tensor x, Tensor y)
    {
        Check.F32(x);
        Check.Vector(y, x.Rows);
        Rows(0, x.Rows, 4L * x.Cols, new LogSumExpRow { X = x.Pointer<float>(), Y = y.Pointer<float>(), D = x.Cols });
    }

    public void LogSumExpGrad(Tensor x, Tensor y, Tensor dy, Tensor dx)
    {
        Check.Same(dx, x);
        Check.Vector(y, x.Rows);
        Check.Vector(dy, x.Rows);
        Rows(0, x.Rows, 4L * x.Cols, new LogSumExpGradRow
        {
            X = x.Pointer<float>(),
            Y = y.Pointer<float>(),
            Dy = dy.Pointer<float>(),
            Dx = dx.Pointer<float>(),
            D = x.Cols,
        });
    }

    public void RmsNorm(Tensor x, Tensor w, float eps, Tensor y, Tensor r)
    {
        Check.Same(y, x);
        int rows = Check.Vectors(x, w, r), d = (int)w.Count;
        Rows(0, rows, d, new RmsNormRow
        {
            X = x.Pointer<float>(),
            W = w.Pointer<float>(),
            Y = y.Pointer<float>(),
            R = r.Pointer<float>(),
            Eps = eps,
            D = d,
        });
    }

    public void RmsNormGrad(Tensor x, Tensor w, Tensor r, Tensor dy, Tensor? dx, Tensor? dw)
    {
        Check.Same(dy, x);
        Check.Same(dx, x);
        int rows = Check.Vectors(x, w, r), d = (int)w.Count;
        if (dx is not null)
            Rows(0, rows, d, new RmsNormGradRow
            {
                X = x.Pointer<float>(),
                W = w.Pointer<float>(),
                R = r.Pointer<float>(),
                Dy = dy.Pointer<float>(),
                Dx = dx.Pointer<float>(),
                D = d,
            });
        if (dw is null)
            return;
        Check.Vector(dw, d);
        Columns(d, rows, new ColumnSumColumns
        {
            X = dy.Pointer<float>(),
            Factor = x.Pointer<float>(),
            Weight = r.Pointer<float>(),
            Y = dw.Pointer<float>(),
            Count = rows,
            D = d,
        });
    }

    private static float* Floats(Tensor? x) => x is null ? null : x.Pointer<float>();

    private struct RowDotRow : IRow
    {
        public float* A, B, Y;
        public int D;

        public readonly void Row(long row, int worker) =>
            Y[row] += B == null ? RowMath<V>.Sum(A + row * D, D) : RowMath<V>.Dot(A + row * D, B + row * D, D);
    }

    /// <summary>y[d] += Σ_t w[t] · x[t,d] · factor[t,d], in sums of 256 rows, which keeps long sums exact.</summary>
    private struct ColumnSumColumns : IColumns
    {
        public float* X, Factor, Weight, Y;
        public int Count, D;

        public readonly void Columns(int first, int end)
        {
            const int Chunk = 256;
            for (int start = 0; start < Count; start += Chunk)
            {
                int d = first;
                for (; d <= end - V.Count; d += V.Count)
                    Add<V>(d, start, Math.Min(Count, start + Chunk));
                for (; d < end; d++)
                    Add<Lanes1>(d, start, Math.Min(Count, start + Chunk));
            }
        }

        private readonly void Add<W>(int d, int start, int end) where W : struct, ILanes<W>
        {
            W sum = W.Of(0);
            for (long t = start; t < end; t++)
            {
                W x = W.Load(X + t * D + d);
                if (Factor != null)
                    x *= W.Load(Factor + t * D + d);
                sum = Weight == null ? sum + x : W.MulAdd(W.Of(Weight[t]), x, sum);
            }
            (W.Load(Y + d) + sum).Store(Y + d);
        }
    }

    /// <summary>y[t,d] += a[t] · b[t · stride + d]; null counts as ones.</summary>
    private struct OuterRow : IRow
    {
        public float* A, B, Y;
        public int BStride, D;

        public readonly void Row(long row, int worker)
        {
            float a = A == null ? 1 : A[row];
            float* y = Y + row * D;
            if (B != null)
                RowMath<V>.AddScaled(a, B + row * BStride, y, D);
            else
                for (int d = 0; d < D; d++)
                    y[d] += a;
        }
    }

    private struct SoftmaxRow : IRow
    {
        public float* X, Y;
        public int D;

        public readonly void Row(long row, int worker)
        {
            float* x = X + row * D, y = Y + row * D;
            RowMath<V>.Scale(1 / RowMath<V>.Exp(x, RowMath<V>.Max(x, D), y, D), y, D);
        }
    }

    private struct SoftmaxGradRow : IRow
    {
        public float* Y, Dy, Dx;
        public int D;

        public readonly void Row(long row, int worker)
        {
            float* y = Y + row * D, dy = Dy + row * D, dx = Dx + row * D;
            V mean = V.Of(RowMath<V>.Dot(y, dy, D));
            int i = 0;
            for (; i <= D - V.Count; i += V.Count)
                V.MulAdd(V.Load(y + i), V.Load(dy + i) - mean, V.Load(dx + i)).Store(dx + i);
            if (i < D)
                Tail.Store(
                    V.MulAdd(Tail.Load<V>(y + i, D - i), Tail.Load<V>(dy + i, D - i) - mean, Tail.Load<V>(dx + i, D - i)), dx + i, D - i);
        }
    }

    private struct LogSumExpRow : IRow
    {
        public float* X, Y;
        public int D;

        public readonly void Row(long row, int worker) => Y[row] = RowMath<V>.LogSumExp(X + row * D, D);
    }

    private struct LogSumExpGradRow : IRow
    {
        public float* X, Y, Dy, Dx;
        public int D;

        public readonly void Row(long row, int worker) => RowMath<V>.AddExp(Dy[row], X + row * D, Y[row], Dx + row * D, D);
    }

    private struct RmsNormRow : IRow
    {
        public float* X, W, Y, R;
        public float Eps;
        public int D;

        public readonly void Row(long row, int worker)
        {
            float* x = X + row * D, y = Y + row * D;
            float r = 1 / MathF.Sqrt(RowMath<V>.Dot(x, x, D) / D + Eps);
            R[row] = r;
            V scale = V.Of(r);
            int i = 0;
            for (; i <= D - V.Count; i += V.Count)
                (V.Load(x + i) * scale * V.Load(W + i)).Store(y + i);
            if (i < D)
                Tail.Store(Tail.Load<V>(x + i, D - i) * scale * Tail.Load<V>(W + i, D - i), y + i, D - i);
        }
    }

    private struct RmsNormGradRow : IRow
    {
        public float* X, W, R, Dy, Dx;
        public int D;

        public readonly void Row(long row, int worker)
        {
            float* x = X + row * D, dy = Dy + row * D, dx = Dx + row * D;
            float sum = RowMath<V>.Dot(dy, W, x, D);
            V r = V.Of(R[row]), back = V.Of(R[row] * R[row] * sum / D);
            int i = 0;
            for (; i <= D - V.Count; i += V.Count)
                V.MulAdd(r, V.Load(dy + i) * V.Load(W + i) - V.Load(x + i) * back, V.Load(dx + i)).Store(dx + i);
            if (i < D)
            {
                V g = Tail.Load<V>(dy + i, D - i) * Tail.Load<V>(W + i, D - i);
                Tail.Store(V.MulAdd(r, g - Tail.Load<V>(x + i, D - i) * back, Tail.Load<V>(dx + i, D - i)), dx + i, D - i);
            }
        }
    }
}
