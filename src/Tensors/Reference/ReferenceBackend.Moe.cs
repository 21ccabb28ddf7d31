namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        WeightMatrix xm = new(x);
        Matrix ym = new(y);
        (int from, int to) = Slots(range, y.Rows);
        for (int s = from; s < to; s++)
            for (int d = 0; d < y.Cols; d++)
                ym[s, d] = xm[index.Ints[s], d];
    }

    public void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Matrix xm = new(x), ym = new(y);
        (int from, int to) = Slots(range, x.Rows);
        for (int s = from; s < to; s++)
            for (int d = 0; d < x.Cols; d++)
                ym[index.Ints[s], d] += xm[s, d];
    }

    public void WriteRows(Tensor x, Tensor index, Tensor y)
    {
        Matrix xm = new(x), ym = new(y);
        for (int t = 0; t < x.Rows; t++)
            xm[t].CopyTo(ym[index.Ints[t]]);
    }

    public void SelectTopK(Tensor scores, int k, Tensor mask)
    {
        Matrix score = new(scores), chosen = new(mask);
        for (int t = 0; t < scores.Rows; t++)
        {
            chosen[t].Clear();
            for (int i = 0; i < k; i++)
                chosen[t, Best(score[t], chosen[t])] = 1;
        }
    }

    /// <remarks>The running sum is F32, as a cumulative sum of F32 probabilities is: in double, other experts could win on the edge.</remarks>
    public void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask)
    {
        Matrix prob = new(probs), chosen = new(mask);
        int max = rule.MaxExperts > 0 ? Math.Min(rule.MaxExperts, probs.Cols) : probs.Cols;
        for (int t = 0; t < probs.Rows; t++)
        {
            chosen[t].Clear();
            float sum = 0;
            for (int i = 0; i < max; i++)
            {
                int e = Best(prob[t], chosen[t]);
                chosen[t, e] = 1;
                sum += prob[t, e];
                if (rule.Strict ? sum > rule.Threshold : sum >= rule.Threshold)
                    break;
            }
        }
    }

    public void CountSlots(Tensor mask, Tensor offsets)
    {
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
        Matrix chosen = new(mask);
        for (int e = 0; e < mask.Cols; e++)
        {
            int s = offsets.Ints[e];
            for (int t = 0; t < mask.Rows; t++)
                if (chosen[t, e] > 0)
                {
                    token.Ints[s] = t;
                    expert.Ints[s] = e;
                    s++;
                }
        }
    }

    public void GatherSlots(Tensor x, Tensor token, Tensor expert, Tensor offsets, Tensor y)
    {
        Matrix xm = new(x);
        for (int s = 0; s < offsets.Ints[^1]; s++)
            y.Floats[s] = xm[token.Ints[s], expert.Ints[s]];
    }

    public void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx)
    {
        Matrix dxm = new(dx);
        for (int s = 0; s < offsets.Ints[^1]; s++)
            dxm[token.Ints[s], expert.Ints[s]] += dy.Floats[s];
    }

    public void GroupedLinear(Tensor x, SlotRange range, ReadOnlySpan<Tensor> w, Tensor y)
    {
        for (int i = 0; i < w.Length; i++)
        {
            (int from, int to) = SlotsOf(i, range, x.Rows);
            Linear(x, w[i], y, from, to);
        }
    }

    public void GroupedLinearGradInput(Tensor dy, SlotRange range, ReadOnlySpan<Tensor> w, Tensor dx)
    {
        for (int i = 0; i < w.Length; i++)
        {
            (int from, int to) = SlotsOf(i, range, dy.Rows);
            LinearGradInput(dy, w[i], dx, from, to);
        }
    }

    public void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw)
    {
        for (int i = 0; i < dw.Length; i++)
            if (dw[i] is { } dwi)
            {
                (int from, int to) = SlotsOf(i, range, x.Rows);
                LinearGradWeight(dy, x, dwi, from, to);
            }
    }

    public void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y)
    {
        Matrix xm = new(x), ym = new(y);
        (int from, int to) = Slots(range, x.Rows);
        for (int s = from; s < to; s++)
            for (int d = 0; d < x.Cols; d++)
                ym[token.Ints[s], d] += weight.Floats[s] * xm[s, d];
    }

    public void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight)
    {
        Matrix xm = new(x), dym = new(dy);
        (int from, int to) = Slots(range, x.Rows);
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

    /// <summary>The slots of all experts of the range.</summary>
    private static (int From, int To) Slots(SlotRange range, int rows) => range.Offsets is { } offsets
        ? (offsets.Ints[range.First], offsets.Ints[range.First + range.Count])
        : (0, rows);

    /// <summary>The slots of the range's i-th expert.</summary>
    private static (int From, int To) SlotsOf(int i, SlotRange range, int rows) =>
        Slots(range with { First = range.First + i, Count = 1 }, rows);
}
