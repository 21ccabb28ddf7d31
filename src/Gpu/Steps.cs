using ILGPU;

namespace MoeFromScratch.Gpu;

/// <summary>
/// The arguments of any small operation: what they mean is the step's to say. Views that it does not use are empty.
/// </summary>
public struct Step
{
    /// <summary>Which step it is, in a <see cref="StepProgram"/>.</summary>
    public int Code;

    /// <summary>How many times a group is needed: rows, or blocks of elements.</summary>
    public int Items;

    public int Rows, Cols, N, M, P, Q, FromRow, ToRow;
    public float F, G;
    public ArrayView<float> A, B, C, Y, Z;
    public ArrayView<int> I, J, K;
    public ArrayView<ushort> H;
}

/// <summary>
/// A small operation, written as what one group of threads does for one item: a row, or a block of as many elements as the group has
/// threads. Items do not depend on each other. Large operations give each item a group of its own; when few tokens are decoded an
/// operation is so short that launching it takes longer, and several follow each other in one group (<see cref="StepProgram"/>).
/// </summary>
internal interface IStep
{
    /// <summary>Its number in a program, −1 where it is never part of one.</summary>
    static abstract int Code { get; }

    /// <param name="s">The operation.</param>
    /// <param name="item">Below s.Items.</param>
    /// <param name="scratch"><see cref="Group"/>'s shared memory, <see cref="StepScratch.Floats"/> of it; a step leaves it behind a barrier.</param>
    static abstract void Run(Step s, int item, ArrayView<float> scratch);
}

internal static class StepScratch
{
    public const int Floats = 1024;
}

/// <summary>One step alone, each item in a group of its own as far as the grid reaches.</summary>
internal struct AloneKernel<TStep> : IKernel<Step> where TStep : struct, IStep
{
    public static void Run(Step s)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(StepScratch.Floats);
        for (int item = Grid.IdxX; item < s.Items; item += Grid.DimX)
            TStep.Run(s, item, scratch);
    }
}

/// <summary>How many threads of a group say yes, and how many of those stand before one's own.</summary>
public struct Ranks
{
    public int Before, All;
}

/// <summary>Adds, counts and finds largest values over a group; all threads get the result.</summary>
internal static class GroupMath
{
    public static Ranks Count(bool mine, ArrayView<float> scratch)
    {
        float one = mine ? 1f : 0f, upToMine = one, before = 0, all = 0;
        for (int distance = 1; distance < Warp.WarpSize; distance += distance)
        {
            float other = Warp.ShuffleUp(upToMine, distance);
            upToMine += Warp.LaneIdx >= distance ? other : 0;
        }
        if (Warp.LaneIdx == Warp.WarpSize - 1)
            scratch[Group.IdxX / Warp.WarpSize] = upToMine;
        Group.Barrier();
        for (int i = 0; i * Warp.WarpSize < Group.DimX; i++)
        {
            before += i < Group.IdxX / Warp.WarpSize ? scratch[i] : 0;
            all += scratch[i];
        }
        Group.Barrier();
        return new Ranks { Before = (int)(before + upToMine - one), All = (int)all };
    }

    public static float Sum(float x, ArrayView<float> scratch)
    {
        for (int distance = Warp.WarpSize >> 1; distance > 0; distance >>= 1)
            x += Warp.ShuffleXor(x, distance);
        if (Warp.LaneIdx == 0)
            scratch[Group.IdxX / Warp.WarpSize] = x;
        Group.Barrier();
        float sum = 0;
        for (int i = 0; i * Warp.WarpSize < Group.DimX; i++)
            sum += scratch[i];
        Group.Barrier();
        return sum;
    }

    public static float Max(float x, ArrayView<float> scratch)
    {
        for (int distance = Warp.WarpSize >> 1; distance > 0; distance >>= 1)
            x = MathF.Max(x, Warp.ShuffleXor(x, distance));
        if (Warp.LaneIdx == 0)
            scratch[Group.IdxX / Warp.WarpSize] = x;
        Group.Barrier();
        float max = scratch[0];
        for (int i = 1; i * Warp.WarpSize < Group.DimX; i++)
            max = MathF.Max(max, scratch[i]);
        Group.Barrier();
        return max;
    }
}
