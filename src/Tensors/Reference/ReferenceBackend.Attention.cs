using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor y)
    {
        CheckRope(x, positions, frequencies, layout, y);
        y.Floats.Clear();
        Turn(x, positions, frequencies, layout, direction: 1, y);
    }

    public void RopeGrad(Tensor dy, Tensor positions, Tensor frequencies, in RopeLayout layout, Tensor dx)
    {
        CheckRope(dy, positions, frequencies, layout, dx);
        Turn(dy, positions, frequencies, layout, direction: -1, dx);
    }

    public void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, in AttentionLayout layout, Tensor y, Tensor lse)
    {
        CheckAttention(q, k, v, sequences, visible, layout, y, lse);
        Matrix qm = new(q), km = new(k), vm = new(v), ym = new(y), lsem = new(lse);
        y.Floats.Clear();                                  // what a query that sees nothing gives
        lse.Floats.Fill(float.NegativeInfinity);
        for (int b = 0; b < sequences.Rows; b++)
            for (int h = 0; h < layout.Heads; h++)
            {
                AttentionHead head = new(layout, h, sequences.Ints.Slice(4 * b, 4), visible);
                double[] scores = new double[head.Keys];
                for (int i = 0; i < head.Queries; i++)
                {
                    for (int j = 0; j < head.Keys; j++)
                        scores[j] = head.Sees(i, j) ? layout.Scale * Dot(head.Query(qm, i), head.Key(km, j)) : double.NegativeInfinity;
                    double logSumExp = LogSumExp<double>(scores);
                    lsem[head.QueryRow(i), h] = (float)logSumExp;
                    for (int d = 0; d < layout.HeadDim; d++)
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
    /// dq = scale · dS k, dk = scale · dSᵀ q, dv = Pᵀ dy.
    /// </remarks>
    public void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, in AttentionLayout layout,
        Tensor y, Tensor lse, Tensor dy, Tensor? dq, Tensor? dk, Tensor? dv)
    {
        CheckAttention(q, k, v, sequences, visible, layout, y, lse);
        Check.Same(dy, q);
        Check.Same(dq, q);
        Check.Same(dk, k);
        Check.Same(dv, v);
        Matrix qm = new(q), km = new(k), vm = new(v), ym = new(y), lsem = new(lse), dym = new(dy);
        for (int b = 0; b < sequences.Rows; b++)
            for (int h = 0; h < layout.Heads; h++)
            {
                AttentionHead head = new(layout, h, sequences.Ints.Slice(4 * b, 4), visible);
                double[,] dqSum = new double[head.Queries, layout.HeadDim];
                double[,] dkSum = new double[head.Keys, layout.HeadDim];
                double[,] dvSum = new double[head.Keys, layout.HeadDim];
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
                            dvSum[j, d] += p * dyi[d];
                        }
                    }
                }
                for (int i = 0; i < head.Queries && dq is not null; i++)
                    AddRow(dqSum, i, head.Query(new Matrix(dq), i));
                for (int j = 0; j < head.Keys && dk is not null; j++)
                    AddRow(dkSum, j, head.Key(new Matrix(dk), j));
                for (int j = 0; j < head.Keys && dv is not null; j++)
                    AddRow(dvSum, j, head.Key(new Matrix(dv), j));
            }
    }

    /// <summary>y += x with every pair turned by ± position · frequency.</summary>
    private static void Turn(Tensor x, Tensor positions, Tensor frequencies, RopeLayout layout, int direction, Tensor y)
    {
        Matrix xm = new(x), ym = new(y);
        int pairs = layout.HeadDim / 2;
        for (int t = 0; t < x.Rows; t++)
            for (int i = 0; i < pairs; i++)
            {
                float angle = positions.Ints[t] * frequencies.Floats[i];
                float cos = (float)Math.Cos(angle), sin = direction * (float)Math.Sin(angle);
                (int first, int second) = layout.Interleaved ? (2 * i, 2 * i + 1) : (i, i + pairs);
                for (int head = 0; head < x.Cols; head += layout.HeadDim)
                {
                    float x1 = xm[t, head + first], x2 = xm[t, head + second];
                    ym[t, head + first] += x1 * cos - x2 * sin;
                    ym[t, head + second] += x2 * cos + x1 * sin;
                }
            }
    }

    private static void AddRow(double[,] sums, int row, Span<float> y)
    {
        for (int d = 0; d < y.Length; d++)
            y[d] += (float)sums[row, d];
    }

    private static void CheckRope(Tensor x, Tensor positions, Tensor frequencies, RopeLayout layout, Tensor y)
    {
        Check.That(layout.HeadDim > 0 && layout.HeadDim % 2 == 0, "a rotary head is even in width");
        Check.That(x.Cols % layout.HeadDim == 0, "heads fill the row");
        Check.Same(y, x);
        Check.Ints(positions, x.Rows);
        Check.Vector(frequencies, layout.HeadDim / 2);
    }

    private static void CheckAttention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, in AttentionLayout layout,
        Tensor y, Tensor lse)
    {
        Check.That(layout.KvHeads > 0 && layout.Heads % layout.KvHeads == 0, "the number of key heads divides the number of heads");
        Check.Matrix(q, q.Rows, layout.Heads * layout.HeadDim);
        Check.Matrix(k, k.Rows, layout.KvHeads * layout.HeadDim);
        Check.Same(v, k);
        Check.Same(y, q);
        Check.Vector(lse, (long)q.Rows * layout.Heads);
        Check.Ints(sequences, 4L * sequences.Rows);
        for (int b = 0; b < sequences.Rows; b++)
        {
            ReadOnlySpan<int> s = sequences.Ints.Slice(4 * b, 4);
            Check.That(s[0] >= 0 && s[1] >= 0 && (long)s[0] + s[1] <= q.Rows, "a sequence's queries lie outside q");
            Check.That(s[2] >= 0 && s[3] >= 0 && (long)s[2] + s[3] <= k.Rows, "a sequence's keys lie outside k");
            Check.That(visible is null || visible.Cols >= s[3], "visible has no column for some key");
        }
        if (visible is not null)
            Check.Ints(visible, (long)q.Rows * visible.Cols);
    }
}
