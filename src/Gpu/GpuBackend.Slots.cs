using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    /// <summary>So few tokens that one thread goes through all of a column.</summary>
    private const int FewTokens = 32;

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

/// <summary>offsets[e + 1] = positive entries of column e; an item is a column.</summary>
internal struct CountColumnStep : IStep
{
    public static int Code => 16;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        float count = 0;     // exact up to 2^24
        for (int t = Group.IdxX; t < s.Rows; t += Group.DimX)
            count += s.A[(long)t * s.Cols + item] > 0 ? 1f : 0f;
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
                count += s.A[(long)t * s.Cols + e] > 0 ? 1 : 0;
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
            bool chosen = t < s.Rows && s.A[(long)t * s.Cols + item] > 0;
            Ranks ranks = GroupMath.Count(chosen, scratch);
            if (chosen)
            {
                s.J[slot + ranks.Before] = t;
                s.K[slot + ranks.Before] = item;
            }
            slot += ranks.All;
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
            if (s.A[(long)t * s.Cols + e] > 0)
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
            s.Y[i] = s.A[(long)s.I[i] * s.Cols + s.J[i]];
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
            s.Y[(long)s.I[i] * s.Cols + s.J[i]] += s.A[i];
    }
}
