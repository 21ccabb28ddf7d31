using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.AnyWeight(x, x.Rows, y.Cols);
        (int from, int to) = Check.Slots(range, y.Rows);
        Check.Indices(index, from, to, x.Rows);
        WeightMatrix xm = new(x);
        Matrix ym = new(y);
        for (int s = from; s < to; s++)
            for (int d = 0; d < y.Cols; d++)
                ym[s, d] = xm[index.Ints[s], d];
    }

    public void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Matrix(x, x.Rows, y.Cols);
        (int from, int to) = Check.Slots(range, x.Rows);
        Check.Indices(index, from, to, y.Rows);
        Matrix xm = new(x), ym = new(y);
        for (int s = from; s < to; s++)
            for (int d = 0; d < x.Cols; d++)
                ym[index.Ints[s], d] += xm[s, d];
    }

    public void WriteRows(Tensor x, Tensor index, Tensor y)
    {
        Check.Matrix(x, x.Rows, y.Cols);
        Check.Weight(y, y.Rows, y.Cols);
        Check.Indices(index, 0, x.Rows, y.Rows);
        Matrix xm = new(x);
        for (int t = 0; t < x.Rows; t++)
            for (int d = 0; d < x.Cols; d++)
                Store(xm[t, d], y, index.Ints[t] * y.Cols + d);
    }

    public void SelectTopK(Tensor scores, int k, Tensor mask)
    {
        Check.Same(mask, scores);
        Check.That(k >= 0 && k <= scores.Cols, "top-k selects between none and all experts");
        Matrix score = new(scores), chosen = new(mask);
        for (int t = 0; t < scores.Rows; t++)
        {
            chosen[t].Clear();
            for (int i = 0; i < k; i++)
                chosen[t, Best(score[t], chosen[t])] = 1;
        }
    }

    public void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask)
    {
        Check.Same(mask, probs);
        Matrix prob = new(probs), chosen = new(mask);
        int max = rule.MaxExperts > 0 ? Math.Min(rule.MaxExperts, probs.Cols) : probs.Cols;
        for (int t = 0; t < probs.Rows; t++)
        {
            chosen[t].Clear();
            double sum = 0;
            float first = 0;
            for (int i = 0; i < max; i++)
            {
                int e = Best(prob[t], chosen[t]);
                first = i == 0 ? prob[t, e] : first;
                if (prob[t, e] < rule.MinP * first)
                    break;
                chosen[t, e] = 1;
                sum += prob[t, e];
                if (rule.Strict ? (float)sum > rule.Threshold : (float)sum >= rule.Threshold)
                    break;
            }
        }
    }

    public void CountSlots(Tensor mask, Tensor offsets)
    {
        Check.F32(mask);
        Check.Ints(offsets, mask.Cols + 1);
        Matrix chosen = new(mask);
        offsets.Ints[0] = 0;
        for (int e = 0; e < mask.Cols; e++)
        {
            int count = 0;
            for (int t = 0; t < mask.Rows; t++)
                if (chosen[t, e] > 0)
                    count++;
            offsets.Ints[e + 1] = offsets.Ints[e] + count;
        }
    }

    public void FillSlots(Tensor mask, Tensor offsets, Tensor token, Tensor expert)
    {
        Check.F32(mask);
        Check.SlotLists(offsets, mask.Cols, token, expert);
        Matrix chosen = new(mask);
        for (int e = 0; e < mask.Cols; e++)
        {
            int s = offsets.Ints[e], end = offsets.Ints[e + 1];
            for (int t = 0; t < mask.Rows; t++)
                if (chosen[t, e] > 0)
                {
                    Check.That(s < end, "the mask has more slots than its offsets count");
                    token.Ints[s] = t;
                    expert.Ints[s] = e;
                    s++;
                }
            Check.That(s == end, "the mask has fewer slots than its offsets count");
        }
    }

    public void GatherSlots(Tensor x, Tensor token, Tensor expert, Tensor offsets, Tensor y)
    {
        Check.F32(x);
        Check.F32(y);
        int live = Check.SlotLists(offsets, x.Cols, token, expert);
        Check.That(y.Count >= live, "fewer outputs than slots");
        Check.Indices(token, 0, live, x.Rows);
        Check.Indices(expert, 0, live, x.Cols);
        Matrix xm = new(x);
        for (int s = 0; s < live; s++)
            y.Floats[s] = xm[token.Ints[s], expert.Ints[s]];
    }

    public void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx)
    {
        Check.F32(dx);
        Check.F32(dy);
        int live = Check.SlotLists(offsets, dx.Cols, token, expert);
        Check.That(dy.Count >= live, "fewer gradients than slots");
        Check.Indices(token, 0, live, dx.Rows);
        Check.Indices(expert, 0, live, dx.Cols);
        Matrix dxm = new(dx);
        for (int s = 0; s < live; s++)
            dxm[token.Ints[s], expert.Ints[s]] += dy.Floats[s];
    }

    public void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Matrix(x, x.Rows, y.Cols);
        Check.Vector(weight, x.Rows);
        (int from, int to) = Check.Slots(range, x.Rows);
        Check.Indices(token, from, to, y.Rows);
        Matrix xm = new(x), ym = new(y);
        for (int s = from; s < to; s++)
            for (int d = 0; d < x.Cols; d++)
                ym[token.Ints[s], d] += weight.Floats[s] * xm[s, d];
    }

    public void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight)
    {
        Check.F32(dy);
        Check.Matrix(x, x.Rows, dy.Cols);
        Check.Same(dx, x);
        Check.Vector(weight, x.Rows);
        if (dweight is not null)
            Check.Vector(dweight, x.Rows);
        (int from, int to) = Check.Slots(range, x.Rows);
        Check.Indices(token, from, to, dy.Rows);
        Matrix xm = new(x), dym = new(dy);
        for (int s = from; s < to; s++)
        {
            Span<float> dys = dym[token.Ints[s]];
            if (dx is not null)
                for (int d = 0; d < x.Cols; d++)
                    new Matrix(dx)[s, d] += weight.Floats[s] * dys[d];
            if (dweight is not null)
                dweight.Floats[s] += (float)Dot(xm[s], dys);
        }
    }

    /// <summary>The expert of the highest score that is not chosen yet; of equals, the first.</summary>
    private static int Best(ReadOnlySpan<float> scores, ReadOnlySpan<float> chosen)
    {
        int best = -1;
        for (int e = 0; e < scores.Length; e++)
            if (chosen[e] == 0 && (best < 0 || scores[e] > scores[best]))
                best = e;
        return best;
    }
}
