using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Weight(x, x.Rows, y.Cols);
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
        Check.F32(y);
        Check.Indices(index, 0, x.Rows, y.Rows);
        Matrix xm = new(x), ym = new(y);
        for (int t = 0; t < x.Rows; t++)
            xm[t].CopyTo(ym[index.Ints[t]]);
    }

    public void SelectTopK(Tensor scores, int k, Tensor mask)
    {
        Check.Same(mask, scores);
        Check.That(k >= 0 && k <= scores.Cols, "k lies between 0 and the number of experts");
        Matrix score = new(scores), chosen = new(mask);
        for (int t = 0; t < scores.Rows; t++)
        {
            chosen[t].Clear();
            for (int i = 0; i < k; i++)
                chosen[t, Best(score[t], chosen[t])] = 1;
        }
    }

    /// <remarks>The running sum is F32 on every backend: in double, another number of experts could join on the edge.</remarks>
    public void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask)
    {
        Check.Same(mask, probs);
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
        Check.Ints(offsets, mask.Cols + 1);
        Check.Slots(new SlotRange(offsets, 0, mask.Cols), (int)Math.Min(token.Count, expert.Count));
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
        Check.F32(x);
        Check.F32(y);
        int live = LiveSlots(token, expert, offsets, x, (int)y.Count);
        Matrix xm = new(x);
        for (int s = 0; s < live; s++)
            y.Floats[s] = xm[token.Ints[s], expert.Ints[s]];
    }

    public void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx)
    {
        Check.F32(dx);
        Check.F32(dy);
        int live = LiveSlots(token, expert, offsets, dx, (int)dy.Count);
        Matrix dxm = new(dx);
        for (int s = 0; s < live; s++)
            dxm[token.Ints[s], expert.Ints[s]] += dy.Floats[s];
    }

    public void GroupedLinear(Tensor x, SlotRange range, ReadOnlySpan<Tensor> w, Tensor y)
    {
        CheckExperts(range, w.Length);
        for (int i = 0; i < w.Length; i++)
        {
            (int from, int to) = SlotsOf(i, range, x.Rows);
            Linear(x, w[i], y, from, to);
        }
    }

    public void GroupedLinearGradInput(Tensor dy, SlotRange range, ReadOnlySpan<Tensor> w, Tensor dx)
    {
        CheckExperts(range, w.Length);
        for (int i = 0; i < w.Length; i++)
        {
            (int from, int to) = SlotsOf(i, range, dy.Rows);
            LinearGradInput(dy, w[i], dx, from, to);
        }
    }

    public void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw)
    {
        CheckExperts(range, dw.Length);
        for (int i = 0; i < dw.Length; i++)
            if (dw[i] is { } dwi)
            {
                (int from, int to) = SlotsOf(i, range, x.Rows);
                LinearGradWeight(dy, x, dwi, from, to);
            }
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

    /// <summary>The slots of the range's i-th expert.</summary>
    private static (int From, int To) SlotsOf(int i, SlotRange range, int rows) =>
        Check.Slots(range.Offsets is null ? range : new SlotRange(range.Offsets, range.First + i, 1), rows);

    /// <summary>offsets[E], once every slot before it is known to name a token and an expert of x [T, E].</summary>
    private static int LiveSlots(Tensor token, Tensor expert, Tensor offsets, Tensor x, int capacity)
    {
        Check.Ints(offsets, x.Cols + 1);
        (_, int live) = Check.Slots(new SlotRange(offsets, 0, x.Cols), capacity);
        Check.Indices(token, 0, live, x.Rows);
        Check.Indices(expert, 0, live, x.Cols);
        return live;
    }

    private static void CheckExperts(SlotRange range, int weights) => Check.That(
        weights == (range.Offsets is null ? 1 : range.Count), "a grouped matmul takes one weight per expert of its range");
}
