using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    /// <summary>A step for each run of experts that have the same room: banks, mostly.</summary>
    public void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept)
    {
        Check.Same(kept, mask);
        Check.Same(scores, mask);
        Check.Room(room, mask.Cols);
        Tensor? keys = mask.Rows <= FewTokens ? null : this.New([mask.Cols, mask.Rows], DType.I32);
        for (int first = 0, count; first < room.Length; first += count)
        {
            count = 1;
            while (first + count < room.Length && room[first + count] == room[first])
                count++;
            Step step = new()
            {
                Rows = mask.Rows,
                Cols = mask.Cols,
                A = View<float>(mask),
                B = ViewOrNone<float>(scores),
                J = ViewOrNone<int>(keys),
                Y = View<float>(kept),
                N = room[first],
                P = first,
                Q = count,
            };
            long elements = (long)mask.Rows * count;
            if (keys is null)
                Run<SelectFewTokensStep>(Blocks(elements), elements, step);
            else
                Run<SelectTokensStep>(count, elements, step);
        }
        if (keys is not null)
            this.Free(keys);
    }
}

/// <summary>The place of a token in its expert's order as an integer, higher ones first: those not chosen last of all, before them NaNs; without scores all chosen are equal.</summary>
internal static class TokenKey
{
    public const int NotChosen = int.MinValue;

    public static int Of(Step s, int token, int expert)
    {
        long at = (long)token * s.Cols + expert;
        if (!(s.A[at] > 0))
            return NotChosen;
        float score = s.B.Length == 0 ? 0 : s.B[at];
        return float.IsNaN(score) ? NotChosen + 1 : FloatKey.Of(score);
    }
}

internal static class FloatKey
{
    /// <summary>An integer with the float's place in the order; −0 counts as 0.</summary>
    public static int Of(float x)
    {
        int bits = (int)Interop.FloatAsInt(x + 0f);
        return bits < 0 ? bits ^ int.MaxValue : bits;
    }
}

/// <summary>
/// kept[t, e] = 1 for the N best tokens of expert e, of equals the first; an item is one of the Q experts from P on. Nothing is sorted: the least key that has a place is
/// found bit by bit, each time by counting those not below it, and the places that those above it leave go to its equals in their order.
/// </summary>
internal struct SelectTokensStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int e = s.P + item;
        long keys = (long)e * s.Rows;
        for (int t = Group.IdxX; t < s.Rows; t += Group.DimX)
            s.J[keys + t] = TokenKey.Of(s, t, e);      // which only this thread reads: columns of scores lie far apart
        int least = s.B.Length == 0 ? 0 : int.MinValue;
        for (int bit = 31; bit >= 0 && s.B.Length > 0; bit--)
        {
            int higher = least + (1 << bit);
            least = AtLeast(s, keys, higher, scratch) >= s.N ? higher : least;
        }
        int left = s.N - (int)AtLeast(s, keys, least + 1, scratch), equals = 0;
        for (int t0 = 0; t0 < s.Rows; t0 += Group.DimX)
        {
            int t = t0 + Group.IdxX, key = TokenKey.NotChosen;
            if (t < s.Rows)
                key = s.J[keys + t];
            bool isEqual = key == least && key > TokenKey.NotChosen;
            Ranks ranks = GroupMath.Count(isEqual, scratch);
            if (t < s.Rows)
                s.Y[(long)t * s.Cols + e] = key > least || (isEqual && equals + ranks.Before < left) ? 1f : 0f;
            equals += ranks.All;
        }
    }

    /// <summary>How many tokens have at least a key: exact up to 2^24.</summary>
    private static float AtLeast(Step s, long keys, int least, ArrayView<float> scratch)
    {
        float count = 0;
        for (int t = Group.IdxX; t < s.Rows; t += Group.DimX)
            count += s.J[keys + t] >= least ? 1f : 0f;
        return GroupMath.Sum(count, scratch);
    }
}

/// <summary>As <see cref="SelectTokensStep"/> for few tokens: a thread for each counts those before it.</summary>
internal struct SelectFewTokensStep : IStep
{
    public static int Code => 42;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int i = item * Group.DimX + Group.IdxX;
        if (i >= s.Rows * s.Q)
            return;
        int t = i / s.Q, e = s.P + i - t * s.Q, key = TokenKey.Of(s, t, e), before = 0;
        for (int other = 0; other < s.Rows; other++)
        {
            int its = TokenKey.Of(s, other, e);
            if (its > key || (its == key && other < t))
                before++;
        }
        s.Y[(long)t * s.Cols + e] = key > TokenKey.NotChosen && before < s.N ? 1f : 0f;
    }
}
