using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    /// <summary>
    /// y[index[s]] += weight[s] · x[s] by sorted segments: slots are sorted by the row that they name, stably, and a group sums each run of one row. So nothing is added
    /// atomically, every sum has the order of its slots, and the work is that of a sort, O(S log² S), however many rows y has.
    /// </summary>
    private void AddSegments(Tensor x, Tensor? weight, Tensor index, in SlotRange range, Tensor y)
    {
        int count = x.Rows;
        Tensor keys = this.New([2, count], DType.I64);
        ArrayView<long> sorted = View<long>(keys.View([count], 0)), next = View<long>(keys.View([count], count));
        SegmentArgs args = new()
        {
            X = View<float>(x),
            Weight = ViewOrNone<float>(weight),
            Y = View<float>(y),
            Row = View<int>(index),
            Slots = Slots(range, x.Rows),
            To = sorted,
            Count = count,
            Cols = y.Cols,
        };
        Launch<SortBlocksKernel, SegmentArgs>(new Index3D((count + SortBlocksKernel.Block - 1) / SortBlocksKernel.Block, 1, 1), GroupSize, args);
        for (long width = SortBlocksKernel.Block; width < count; width *= 2)
        {
            Launch<MergeRunsKernel, SegmentArgs>(new Index3D(Blocks(count), 1, 1), GroupSize, args with { From = sorted, To = next, Width = (int)width });
            (sorted, next) = (next, sorted);
        }
        Launch<SumSegmentsKernel, SegmentArgs>(new Index3D(count, 1, 1), GroupSize, args with { From = sorted });
        this.Free(keys);
    }
}

/// <summary>Slots on their way to the rows that they name.</summary>
public struct SegmentArgs
{
    /// <summary>Weight is empty where each counts once.</summary>
    public ArrayView<float> X, Weight, Y;

    /// <summary>[Count] the row of each slot.</summary>
    public ArrayView<int> Row;

    /// <summary>[Count] keys of slots, see <see cref="SlotKey"/>.</summary>
    public ArrayView<long> From, To;

    public SlotView Slots;

    /// <summary>Keys, the length of sorted runs, columns of a row.</summary>
    public int Count, Width, Cols;
}

/// <summary>A slot's row above its own number: no two keys are equal, and any sort of them is a stable one by row.</summary>
internal static class SlotKey
{
    /// <summary>The row of a slot that is not in the range: behind all others.</summary>
    public const int None = int.MaxValue;

    public static long Of(SegmentArgs a, int slot)
    {
        int row = None;
        if (slot >= SlotView.Start(a.Slots) && slot < SlotView.End(a.Slots))
            row = a.Row[slot];
        return ((long)row << 32) | (uint)slot;
    }

    public static int Row(long key) => (int)(key >> 32);

    public static int Slot(long key) => (int)key;
}

/// <summary>Runs of sorted keys, each as long as the others but for the last one.</summary>
internal static class SortedRuns
{
    /// <summary>
    /// Where the i-th key belongs in runs twice as long: behind those before it in its own run, and behind those of the neighbour run that are less, which are found
    /// by halves.
    /// </summary>
    /// <param name="keys">Those from <paramref name="start"/> on.</param>
    /// <param name="start">Of the first run.</param>
    /// <param name="i">Counts from there.</param>
    /// <param name="width">The length of a run, a power of two.</param>
    /// <param name="count">All keys.</param>
    public static int Place(ArrayView<long> keys, int start, int i, int width, int count)
    {
        long key = keys[start + i];
        int run = i & -width, neighbour = run ^ width, low = neighbour, high = IntrinsicMath.Min(neighbour + width, count);
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (keys[start + middle] < key)
                low = middle + 1;
            else
                high = middle;
        }
        return i + (low - neighbour) - (run > neighbour ? width : 0);
    }
}

/// <summary>Sorts each block of keys in shared memory: runs of one, of two, of four, from one half of the array into the other.</summary>
internal struct SortBlocksKernel : IKernel<SegmentArgs>
{
    public const int Block = 1024;

    public static void Run(SegmentArgs a)
    {
        ArrayView<long> keys = SharedMemory.Allocate<long>(2 * Block);
        int first = Grid.IdxX * Block, count = IntrinsicMath.Min(a.Count - first, Block), from = 0;
        for (int i = Group.IdxX; i < count; i += Group.DimX)
            keys[i] = SlotKey.Of(a, first + i);
        Group.Barrier();
        for (int width = 1; width < count; width += width)
        {
            int to = Block - from;
            for (int i = Group.IdxX; i < count; i += Group.DimX)
                keys[to + SortedRuns.Place(keys, from, i, width, count)] = keys[from + i];
            Group.Barrier();
            from = to;
        }
        for (int i = Group.IdxX; i < count; i += Group.DimX)
            a.To[first + i] = keys[from + i];
    }
}

/// <summary>Sorted runs become runs of twice the width: a thread for each key.</summary>
internal struct MergeRunsKernel : IKernel<SegmentArgs>
{
    public static void Run(SegmentArgs a)
    {
        int i = Grid.IdxX * Group.DimX + Group.IdxX;
        if (i < a.Count)
            a.To[SortedRuns.Place(a.From, 0, i, a.Width, a.Count)] = a.From[i];
    }
}

/// <summary>A group for each place in the order: the first of a row's adds them all, a thread for each column.</summary>
internal struct SumSegmentsKernel : IKernel<SegmentArgs>
{
    public static void Run(SegmentArgs a)
    {
        int first = Grid.IdxX, row = SlotKey.Row(a.From[first]);
        if (row == SlotKey.None || (first > 0 && SlotKey.Row(a.From[first - 1]) == row))
            return;
        for (int d = Group.IdxX; d < a.Cols; d += Group.DimX)
        {
            float sum = a.Y[(long)row * a.Cols + d];
            for (int i = first; i < a.Count && SlotKey.Row(a.From[i]) == row; i++)
            {
                int slot = SlotKey.Slot(a.From[i]);
                float weight = a.Weight.Length == 0 ? 1 : a.Weight[slot];
                sum += weight * a.X[(long)slot * a.Cols + d];
            }
            a.Y[(long)row * a.Cols + d] = sum;
        }
    }
}
