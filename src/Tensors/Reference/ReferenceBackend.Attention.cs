using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y)
    {
        Check.Same(y, x);
        Check.Rope(x, positions, frequencies, layout);
        y.Floats.Clear();
        Turn(x, positions, frequencies, layout, direction: 1, y);
    }

    public void RopeGrad(Tensor dy, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor dx)
    {
        Check.Same(dx, dy);
        Check.Rope(dy, positions, frequencies, layout);
        Turn(dy, positions, frequencies, layout, direction: -1, dx);
    }

    public void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout, Tensor y, Tensor lse)
    {
        Check.Attention(q, k, v, sequences, visible, sinks, layout, y, lse);
        Matrix qm = new(q), km = Matrix.Widened(k), vm = Matrix.Widened(v), ym = new(y), lsem = new(lse);
        y.Floats.Clear();                                  // what a query that sees nothing gives
        for (int t = 0; t < lse.Rows; t++)
            for (int h = 0; h < layout.Heads; h++)
                lsem[t, h] = sinks is null ? float.NegativeInfinity : sinks.Floats[h];
        for (int b = 0; b < sequences.Rows; b++)
            for (int h = 0; h < layout.Heads; h++)
            {
                AttentionHead head = new(layout, h, sequences.Ints.Slice(4 * b, 4), visible);
                double[] scores = new double[head.Keys + 1];
                scores[head.Keys] = sinks is null ? double.NegativeInfinity : sinks.Floats[h];
                for (int i = 0; i < head.Queries; i++)
                {
                    for (int j = 0; j < head.Keys; j++)
                        scores[j] = head.Sees(i, j) ? layout.Scale * Dot(head.Query(qm, i), head.Key(km, j)) : double.NegativeInfinity;
                    double logSumExp = LogSumExp<double>(scores);
                    lsem[head.QueryRow(i), h] = (float)logSumExp;
                    for (int d = 0; d < layout.ValueDim; d++)
                    {
                        double sum = 0;
                        for (int j = 0; j < head.Keys; j++)
                            if (head.Sees(i, j))
                                sum += Math.Exp(scores[j] - logSumExp) * head.Key(vm, j)[d];
                        head.Query(ym, i)[d] = (float)sum;
                    }
                }
            }
    }

    /// <remarks>
    /// With S = scale · q kᵀ and P = softmax(S): dP = dy vᵀ, dS = P · (dP − Σ_d dy · y), and from there
    /// dq = scale · dS k, dk = scale · dSᵀ q, dv = Pᵀ dy. A sink is one more column of S, whose dP is 0.
    /// </remarks>
    public void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout,
        Tensor y, Tensor lse, Tensor dy, Tensor? dq, Tensor? dk, Tensor? dv, Tensor? dsinks)
    {
        Check.Attention(q, k, v, sequences, visible, sinks, layout, y, lse);
        Check.AttentionGrad(q, k, v, sinks, y, dy, dq, dk, dv, dsinks);
        Matrix qm = new(q), km = new(k), vm = new(v), ym = new(y), lsem = new(lse), dym = new(dy);
        for (int b = 0; b < sequences.Rows; b++)
            for (int h = 0; h < layout.Heads; h++)
            {
                AttentionHead head = new(layout, h, sequences.Ints.Slice(4 * b, 4), visible);
                double[,] dqSum = new double[head.Queries, layout.HeadDim];
                double[,] dkSum = new double[head.Keys, layout.HeadDim];
                double[,] dvSum = new double[head.Keys, layout.ValueDim];
                double dsinkSum = 0;
                for (int i = 0; i < head.Queries; i++)
                {
                    Span<float> qi = head.Query(qm, i), dyi = head.Query(dym, i);
                    double dyDotY = Dot(dyi, head.Query(ym, i));
                    for (int j = 0; j < head.Keys; j++)
                    {
                        if (!head.Sees(i, j))
                            continue;
                        Span<float> kj = head.Key(km, j), vj = head.Key(vm, j);
                        double p = Math.Exp(layout.Scale * Dot(qi, kj) - lsem[head.QueryRow(i), h]);
                        double ds = p * (Dot(dyi, vj) - dyDotY);
                        for (int d = 0; d < layout.HeadDim; d++)
                        {
                            dqSum[i, d] += layout.Scale * ds * kj[d];
                            dkSum[j, d] += layout.Scale * ds * qi[d];
                        }
                        for (int d = 0; d < layout.ValueDim; d++)
                            dvSum[j, d] += p * dyi[d];
                    }
                    if (dsinks is not null)
                        dsinkSum -= Math.Exp(sinks!.Floats[h] - lsem[head.QueryRow(i), h]) * dyDotY;
                }
                for (int i = 0; i < head.Queries && dq is not null; i++)
                    AddRow(dqSum, i, head.Query(new Matrix(dq), i));
                for (int j = 0; j < head.Keys && dk is not null; j++)
                    AddRow(dkSum, j, head.Key(new Matrix(dk), j));
                for (int j = 0; j < head.Keys && dv is not null; j++)
                    AddRow(dvSum, j, head.Key(new Matrix(dv), j));
                if (dsinks is not null)
                    dsinks.Floats[h] += (float)dsinkSum;
            }
    }

    /// <summary>y += x with every pair turned by ± position · frequency and grown, the other columns as they are.</summary>
    private static void Turn(Tensor x, Tensor positions, Tensor frequencies, RopeLayout layout, int direction, Tensor y)
    {
        Matrix xm = new(x), ym = new(y);
        int pairs = layout.Pairs;
        for (int t = 0; t < x.Rows; t++)
            for (int head = 0; head < x.Cols; head += layout.HeadDim)
            {
                for (int j = 0; j < layout.HeadDim; j++)
                    if (j < layout.First || j >= layout.First + 2 * pairs)
                        ym[t, head + j] += xm[t, head + j];
                for (int i = 0; i < pairs; i++)
                {
                    float angle = positions.Ints[t] * frequencies.Floats[i];
                    float cos = layout.Magnitude * (float)Math.Cos(angle), sin = layout.Magnitude * direction * (float)Math.Sin(angle);
                    (int first, int second) = layout.Interleaved ? (2 * i, 2 * i + 1) : (i, i + pairs);
                    first += head + layout.First;
                    second += head + layout.First;
                    float x1 = xm[t, first], x2 = xm[t, second];
                    ym[t, first] += x1 * cos - x2 * sin;
                    ym[t, second] += x2 * cos + x1 * sin;
                }
            }
    }

    private static void AddRow(double[,] sums, int row, Span<float> y)
    {
        for (int d = 0; d < y.Length; d++)
            y[d] += (float)sums[row, d];
    }
}
