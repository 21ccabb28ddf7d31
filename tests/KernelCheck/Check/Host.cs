using System.Runtime.InteropServices;
using ILGPU;

namespace MoeFromScratch.KernelCheck;

/// <summary>Copies between host and device, and within the device.</summary>
internal static unsafe class Host
{
    public static ArrayView<byte> Raw<TView>(TView view) where TView : IContiguousArrayView => view.AsRawArrayView();

    public static void Write<T>(ArrayView<T> view, ReadOnlySpan<T> data) where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(data);
        if (Check(view, data.Length, "a copy from the host") is not { } block)
            return;
        bytes.CopyTo(new Span<byte>(view.Start, bytes.Length));
        block.MarkRange(view.Start, bytes.Length, written: true);
    }

    public static void Write<T>(ArrayView<T> view, T[] data) where T : unmanaged => Write(view, (ReadOnlySpan<T>)data);

    public static void Read<T>(ArrayView<T> view, Span<T> data) where T : unmanaged
    {
        // ILGPU fills what it was given: a longer array is an error there too.
        if (Check(view, data.Length, "a copy to the host") is not null)
            new ReadOnlySpan<byte>(view.Start, checked(data.Length * sizeof(T))).CopyTo(MemoryMarshal.AsBytes(data));
    }

    public static void Fill(ArrayView<byte> view, byte value)
    {
        if (Check(view, view.Length, "MemSet") is not { } block)
            return;
        NativeMemory.Fill(view.Start, (nuint)view.Length, value);
        block.MarkRange(view.Start, view.Length, written: true);
    }

    public static void Copy(ArrayView<byte> source, ArrayView<byte> target)
    {
        if (Check(source, source.Length, "a copy from") is not { } from || Check(target, source.Length, "a copy to") is not { } to)
            return;
        if (from.Machine != to.Machine)
            throw Fault.Of(FaultKind.OtherAccelerator, $"a copy from {from.Label} to {to.Label}, which belongs to another accelerator");
        Buffer.MemoryCopy(source.Start, target.Start, target.Length, source.Length);
        CopyMarks(from, source.Start - from.Start, to, target.Start - to.Start, source.Length);
    }

    /// <summary>What was never written stays so where it arrives.</summary>
    private static void CopyMarks(Block from, long source, Block to, long target, long bytes)
    {
        for (long done = 0; done < bytes;)
        {
            bool written = from.IsWritten(source + done);
            long run = done;
            while (run < bytes && from.IsWritten(source + run) == written)
                run += Math.Min(bytes - run, ((source | run) & 3) == 0 && from.Grain == 0 ? 4 : 1);
            to.MarkRange(to.Start + target + done, run - done, written);
            done = run;
        }
    }

    private static Block? Check<T>(ArrayView<T> view, long length, string what) where T : unmanaged
    {
        if (length > view.Length)
            throw Fault.Of(FaultKind.OutOfBounds, $"{what} of {length} elements on a view of {view.Length} on {view.Block?.Label ?? "nothing"}");
        view.Block?.CheckRange(view.Start - view.Block.Start, length * sizeof(T), what);
        return length == 0 ? null : view.Block;
    }
}
