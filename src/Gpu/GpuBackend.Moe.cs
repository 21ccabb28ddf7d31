using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    /// <summary>So few tokens that one thread goes through all of a column.</summary>
    private const int FewTokens = 32;

    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Weight(x, x.Rows, y.Cols);
        SlotRange readable = Readable(range);
        (int from, int to) = Check.Slots(readable, y.Rows);
        Check.Indices(Readable(index), from, to, x.Rows);
        ElementView elements = Elements(x);
        SlotView slots = Slots(range, y.Rows);
        Step step = new()
        {
            A = elements.Floats,
            H = elements.Halves,
            I = View<int>(index),
            J = slots.Offsets,
            Y = View<float>(y),
            N = slots.Rows,
            P = slots.First,
            Q = slots.Count,
        };
        switch (x.DType)
        {
            case DType.F32: Rows<GatherRowsStep<F32>>(y.Rows, y.Cols, step); break;
            case DType.BF16: Rows<GatherRowsStep<BF16>>(y.Rows, y.Cols, step); break;
            default: Rows<GatherRowsStep<F16>>(y.Rows, y.Cols, step); break;
        }
    }

    public void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Matrix(x, x.Rows, y.Cols);
        AddSlots(x, null, index, range, y);
    }

    public void WriteRows(Tensor x, Tensor index, Tensor y)
    {
        Check.Matrix(x, x.Rows, y.Cols);
        Check.F32(y);
        Check.Indices(Readable(index), 0, x.Rows, y.Rows);
        Rows<WriteRowsStep>(x.Rows, x.Cols, new Step { A = View<float>(x), I = View<int>(index), Y = View<float>(y) });
    }

    public void SelectTopK(Tensor scores, int k, Tensor mask)
    {
        Check.Same(mask, scores);
        Check.That(k >= 0 && k <= scores.Cols, "top-k selects between none and all experts");
        Select(scores, new Step { N = k, M = 0 }, mask);
    }

    public void SelectTopP(Tensor probs, in TopPRule rule, Tensor mask)
    {
        Check.Same(mask, probs);
        int max = rule.MaxExperts > 0 ? Math.Min(rule.MaxExperts, probs.Cols) : probs.Cols;
        Select(probs, new Step { N = max, M = 1, F = rule.Threshold, P = rule.Strict ? 1 : 0, G = rule.MinP }, mask);
    }

    public void CountSlots(Tensor mask, Tensor offsets)
    {
        Check.F32(mask);
        Check.Ints(offsets, mask.Cols + 1);
        Step step = new() { Rows = mask.Rows, Cols = mask.Cols, A = View<float>(mask), I = View<int>(offsets), M = mask.Rows <= FewTokens ? 1 : 0 };
        if (step.M == 0)
            Run<CountColumnStep>(mask.Cols, mask.Count, step);
        Run<SumCountsStep>(1, mask.Cols, step);
    }

    public void FillSlots(Tensor mask, Tensor offsets, Tensor token, Tensor expert)
    {
        Check.F32(mask);
        Check.SlotLists(Readable(offsets), mask.Cols, token, expert);
        if (_checked)
            CheckSlots(mask, offsets);
        Step step = new()
        {
            Rows = mask.Rows,
            Cols = mask.Cols,
            A = View<float>(mask),
            I = View<int>(offsets),
            J = View<int>(token),
            K = View<int>(expert),
        };
        if (mask.Rows <= FewTokens)
            Run<FillFewSlotsStep>(Blocks(mask.Cols), mask.Count, step);
        else
            Run<FillSlotsStep>(mask.Cols, mask.Count, step);
    }

    public void GatherSlots(Tensor x, Tensor token, Tensor expert, Tensor offsets, Tensor y)
    {
        Check.F32(x);
        Check.F32(y);
        CheckGathered(token, expert, offsets, x, y);
        Each<GatherSlotsStep>(Math.Min(token.Count, y.Count), new Step
        {
            Cols = x.Cols,
            A = View<float>(x),
            I = View<int>(token),
            J = View<int>(expert),
            K = View<int>(offsets),
            Y = View<float>(y),
        });
    }

    public void GatherSlotsGrad(Tensor dy, Tensor token, Tensor expert, Tensor offsets, Tensor dx)
    {
        Check.F32(dx);
        Check.F32(dy);
        CheckGathered(token, expert, offsets, dx, dy);
        Each<GatherSlotsGradStep>(Math.Min(token.Count, dy.Count), new Step
        {
            Cols = dx.Cols,
            A = View<float>(dy),
            I = View<int>(token),
            J = View<int>(expert),
            K = View<int>(offsets),
            Y = View<float>(dx),
        });
    }

    public void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Matrix(x, x.Rows, y.Cols);
        Check.Vector(weight, x.Rows);
        AddSlots(x, weight, token, range, y);
    }

    public void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight)
    {
        Check.F32(dy);
        Check.Matrix(x, x.Rows, dy.Cols);
        Check.Vector(weight, x.Rows);
        Check.Same(dx, x);
        if (dweight is not null)
            Check.Vector(dweight, x.Rows);
        (int from, int to) = Check.Slots(Readable(range), x.Rows);
        Check.Indices(Readable(token), from, to, dy.Rows);
        SlotView slots = Slots(range, x.Rows);
        Step step = new()
        {
            A = View<float>(x),
            B = View<float>(weight),
            C = View<float>(dy),
            I = View<int>(token),
            J = slots.Offsets,
            N = slots.Rows,
            P = slots.First,
            Q = slots.Count,
        };
        if (dx is not null)
            Rows<CombineGradStep>(x.Rows, x.Cols, step with { Y = View<float>(dx) });
        if (dweight is not null)
            Rows<CombineWeightGradStep>(x.Rows, x.Cols, step with { Y = View<float>(dweight) });
    }

    /// <summary>The slot lists name elements of a matrix, and the vector has as many elements as there are slots: checked where checks are on.</summary>
    private void CheckGathered(Tensor token, Tensor expert, Tensor offsets, Tensor matrix, Tensor vector)
    {
        Tensor readable = Readable(offsets);
        Check.SlotLists(readable, matrix.Cols, token, expert);
        if (!_checked)
            return;
        int live = readable.Ints[matrix.Cols];
        Check.That(vector.Count >= live, "fewer outputs than slots");
        Check.Indices(Readable(token), 0, live, matrix.Rows);
        Check.Indices(Readable(expert), 0, live, matrix.Cols);
    }

    private void AddSlots(Tensor x, Tensor? weight, Tensor index, in SlotRange range, Tensor y)
    {
        SlotRange readable = Readable(range);
        (int from, int to) = Check.Slots(readable, x.Rows);
        Check.Indices(Readable(index), from, to, y.Rows);
        SlotView slots = Slots(range, x.Rows);
        Step step = new()
        {
            Cols = y.Cols,
            A = View<float>(x),
            B = ViewOrNone<float>(weight),
            I = View<int>(index),
            J = slots.Offsets,
            Y = View<float>(y),
            N = slots.Rows,
            M = weight is null ? 0 : 1,
            P = slots.First,
            Q = slots.Count,
        };
        if (y.Rows > x.Rows)
            Run<ScatterStep>(x.Rows, x.Count, step);
        else
            Rows<CombineStep>(y.Rows, y.Cols, step);
    }

    private void Select(Tensor scores, Step step, Tensor mask)
    {
        Check.That(2 * scores.Cols <= StepScratch.Floats, "a device ranks at most 512 experts");
        Rows<SelectStep>(scores.Rows, scores.Cols, step with { A = View<float>(scores), Y = View<float>(mask) });
    }

    /// <summary>Offsets that count what the mask has: checked on the host, where checks are on.</summary>
    private void CheckSlots(Tensor mask, Tensor offsets)
    {
        Tensor chosen = Readable(mask), bounds = Readable(offsets);
        for (int e = 0; e < mask.Cols; e++)
        {
            int count = 0;
            for (int t = 0; t < mask.Rows; t++)
                count += chosen.Floats[t * mask.Cols + e] > 0 ? 1 : 0;
            Check.That(count == bounds.Ints[e + 1] - bounds.Ints[e], "the mask has as many slots as its offsets count");
        }
    }

    private SlotView Slots(in SlotRange range, int rows) => new()
    {
        Offsets = ViewOrNone<int>(range.Offsets),
        First = range.First,
        Count = range.Offsets is null ? 0 : range.Count,
        Rows = rows,
    };
}

/// <summary>A <see cref="SlotRange"/>: without offsets all rows.</summary>
public struct SlotView
{
    public ArrayView<int> Offsets;
    public int First, Count, Rows;

    /// <summary>A step's slots: offsets in J, P the first expert, Q how many, N all rows.</summary>
    internal static SlotView Of(Step s) => new() { Offsets = s.J, First = s.P, Count = s.Q, Rows = s.N };

    internal static int Start(SlotView s) => s.Offsets.Length == 0 ? 0 : s.Offsets[s.First];

    internal static int End(SlotView s) => s.Offsets.Length == 0 ? s.Rows : s.Offsets[s.First + s.Count];
}

/// <summary>y[s] = x[index[s]] for the slots of a range</summary>
internal struct GatherRowsStep<TElement> : IStep where TElement : struct, IElement
{
    public static int Code => typeof(TElement) == typeof(F32) ? 36 : typeof(TElement) == typeof(BF16) ? 37 : 38;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        SlotView slots = SlotView.Of(s);
        if (item < SlotView.Start(slots) || item >= SlotView.End(slots))
            return;
        ElementView x = new() { Floats = s.A, Halves = s.H };
        long from = (long)s.I[item] * s.Cols, to = (long)item * s.Cols;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            s.Y[to + d] = TElement.At(x, from + d);
    }
}

/// <summary>y[index[t]] = x[t]</summary>
internal struct WriteRowsStep : IStep
{
    public static int Code => 14;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        long to = (long)s.I[item] * s.Cols;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            s.Y[to + d] = s.A[item * s.Cols + d];
    }
}

/// <summary>
/// The one kernel that selects experts for a row. Every thread ranks some experts by counting those before them: higher scores, then
/// lower indices. Top-k (M = 0) takes the first N; Top-P (M = 1) writes the row in the order of ranks, and one thread adds up
/// probabilities, in double as <see cref="TopPRule"/> says, until the rule's end.
/// </summary>
internal struct SelectStep : IStep
{
    public static int Code => 15;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int row = item * s.Cols, taken = s.N;
        if (s.M == 1)
        {
            for (int e = Group.IdxX; e < s.Cols; e += Group.DimX)
                scratch[Rank(s, row, e)] = s.A[row + e];
            Group.Barrier();
            if (Group.IdxX == 0)
                scratch[s.Cols] = Count(s, scratch);
            Group.Barrier();
            taken = (int)scratch[s.Cols];
        }
        for (int e = Group.IdxX; e < s.Cols; e += Group.DimX)
            s.Y[row + e] = Rank(s, row, e) < taken ? 1f : 0f;
        Group.Barrier();
    }

    private static int Rank(Step s, int row, int e)
    {
        float score = s.A[row + e];
        int rank = 0;
        for (int j = 0; j < s.Cols; j++)
        {
            float other = s.A[row + j];
            if (other > score || (other == score && j < e))
                rank++;
        }
        return rank;
    }

    /// <summary>How many experts the rule takes of those in scratch, highest first.</summary>
    private static int Count(Step s, ArrayView<float> scratch)
    {
        double sum = 0;
        float first = scratch[0];
        int n = 0;
        bool more = s.N > 0;
        while (more)
        {
            float p = scratch[n];
            if (p < s.G * first)
                more = false;
            else
            {
                n++;
                sum += p;
                float reached = (float)sum;
                more = n < s.N && !(s.P == 1 ? reached > s.F : reached >= s.F);
            }
        }
        return n;
    }
}

/// <summary>offsets[e + 1] = positive entries of column e; an item is a column.</summary>
internal struct CountColumnStep : IStep
{
    public static int Code => 16;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        float count = 0;     // exact up to 2^24
        for (int t = Group.IdxX; t < s.Rows; t += Group.DimX)
            count += s.A[t * s.Cols + item] > 0 ? 1f : 0f;
        count = GroupMath.Sum(count, scratch);
        if (Group.IdxX == 0)
            s.I[item + 1] = (int)count;
    }
}

/// <summary>offsets[e] = Σ of what stands before; for few tokens (M = 1) each thread counts its columns first.</summary>
internal struct SumCountsStep : IStep
{
    public static int Code => 17;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        for (int e = Group.IdxX; e < s.Cols && s.M == 1; e += Group.DimX)
        {
            int count = 0;
            for (int t = 0; t < s.Rows; t++)
                count += s.A[t * s.Cols + e] > 0 ? 1 : 0;
            s.I[e + 1] = count;
        }
        Group.Barrier();
        if (Group.IdxX > 0)
            return;
        int sum = 0;
        s.I[0] = 0;
        for (int e = 1; e <= s.Cols; e++)
        {
            sum += s.I[e];
            s.I[e] = sum;
        }
    }
}

/// <summary>The slots of one expert, in the order of tokens: threads take neighbours, and count how many before them are chosen.</summary>
internal struct FillSlotsStep : IStep
{
    public static int Code => 18;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int slot = s.I[item];
        for (int t0 = 0; t0 < s.Rows; t0 += Group.DimX)
        {
            int t = t0 + Group.IdxX;
            bool chosen = t < s.Rows && s.A[t * s.Cols + item] > 0;
            scratch[Group.IdxX] = chosen ? 1f : 0f;
            Group.Barrier();
            int before = 0, all = 0;
            for (int i = 0; i < Group.DimX && t0 + i < s.Rows; i++)
            {
                int one = scratch[i] > 0 ? 1 : 0;
                all += one;
                before += i < Group.IdxX ? one : 0;
            }
            if (chosen)
            {
                s.J[slot + before] = t;
                s.K[slot + before] = item;
            }
            slot += all;
            Group.Barrier();
        }
    }
}

/// <summary>As <see cref="FillSlotsStep"/> for few tokens: a thread per expert.</summary>
internal struct FillFewSlotsStep : IStep
{
    public static int Code => 22;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int e = item * Group.DimX + Group.IdxX;
        if (e >= s.Cols)
            return;
        int slot = s.I[e];
        for (int t = 0; t < s.Rows; t++)
            if (s.A[t * s.Cols + e] > 0)
            {
                s.J[slot] = t;
                s.K[slot] = e;
                slot++;
            }
    }
}

/// <summary>y[s] = x[token[s], expert[s]] for the live slots</summary>
internal struct GatherSlotsStep : IStep
{
    public static int Code => 19;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int i = item * Group.DimX + Group.IdxX;
        if (i < s.N && i < s.K[s.Cols])
            s.Y[i] = s.A[s.I[i] * s.Cols + s.J[i]];
    }
}

/// <summary>dx[token[s], expert[s]] += dy[s] for the live slots, each of which has an element of its own</summary>
internal struct GatherSlotsGradStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int i = item * Group.DimX + Group.IdxX;
        if (i < s.N && i < s.K[s.Cols])
            s.Y[s.I[i] * s.Cols + s.J[i]] += s.A[i];
    }
}

/// <summary>
/// y[t] += Σ weight[s] · x[s] over the slots whose row is t, in the order of s: each group looks its own slots up in the list, so nothing
/// is added atomically and every sum has one order.
/// </summary>
internal struct CombineStep : IStep
{
    /// <summary>Where a mark for each thread stands, behind what sums take.</summary>
    private const int Marks = StepScratch.Floats / 2;

    public static int Code => 21;

    public static void Run(Step s, int item, ArrayView<float> scratch) => Add(s, item, SlotView.Start(SlotView.Of(s)), scratch);

    /// <summary>Adds the slots from <paramref name="first"/> on whose row is <paramref name="row"/>.</summary>
    public static void Add(Step s, int row, int first, ArrayView<float> scratch)
    {
        int end = SlotView.End(SlotView.Of(s));
        for (int s0 = first; s0 < end; s0 += Group.DimX)
        {
            int slot = s0 + Group.IdxX;
            float mine = slot < end && s.I[slot] == row ? 1f : 0f;
            scratch[Marks + Group.IdxX] = mine;
            if (GroupMath.Sum(mine, scratch) == 0)
                continue;
            for (int i = 0; i < Group.DimX && s0 + i < end; i++)
                if (scratch[Marks + i] > 0)
                {
                    float weight = s.M == 0 ? 1 : s.B[s0 + i];
                    for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
                        s.Y[(long)row * s.Cols + d] += weight * s.A[(long)(s0 + i) * s.Cols + d];
                }
            Group.Barrier();
        }
    }
}

/// <summary>
/// As <see cref="CombineStep"/> where most rows of y get nothing, as in the gradient of an embedding: an item is a slot, and the first
/// of those that name a row adds them all.
/// </summary>
internal struct ScatterStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int start = SlotView.Start(SlotView.Of(s));
        if (item < start || item >= SlotView.End(SlotView.Of(s)))
            return;
        int row = s.I[item];
        float before = 0;
        for (int i = start + Group.IdxX; i < item; i += Group.DimX)
            before += s.I[i] == row ? 1f : 0f;
        if (GroupMath.Sum(before, scratch) == 0)
            CombineStep.Add(s, row, item, scratch);
    }
}

/// <summary>dx[s] += weight[s] · dy[token[s]]</summary>
internal struct CombineGradStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        if (item < SlotView.Start(SlotView.Of(s)) || item >= SlotView.End(SlotView.Of(s)))
            return;
        int row = s.I[item] * s.Cols;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            s.Y[item * s.Cols + d] += s.B[item] * s.C[row + d];
    }
}

/// <summary>dweight[s] += Σ_d x[s,d] · dy[token[s],d]</summary>
internal struct CombineWeightGradStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        if (item < SlotView.Start(SlotView.Of(s)) || item >= SlotView.End(SlotView.Of(s)))
            return;
        int row = s.I[item] * s.Cols;
        float sum = 0;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            sum += s.A[item * s.Cols + d] * s.C[row + d];
        sum = GroupMath.Sum(sum, scratch);
        if (Group.IdxX == 0)
            s.Y[item] += sum;
    }
}
