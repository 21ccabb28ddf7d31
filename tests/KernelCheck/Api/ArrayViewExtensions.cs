using System.Runtime.InteropServices;
using MoeFromScratch.KernelCheck;

namespace ILGPU.Runtime;

public static unsafe class ArrayViewExtensions
{
    public static ArrayView1D<T, Stride1D.Dense> AsDense<T>(this ArrayView<T> view) where T : unmanaged => view;

    public static ArrayView1D<TOther, Stride1D.Dense> Cast<T, TOther>(this ArrayView1D<T, Stride1D.Dense> view)
        where T : unmanaged where TOther : unmanaged => view.BaseView.Cast<TOther>();

    /// <exception cref="KernelFault">The view does not start at a multiple of the alignment.</exception>
    public static ArrayView<T> AsAligned<T>(this ArrayView<T> view, int alignmentInBytes) where T : unmanaged
    {
        nint past = int.IsPow2(alignmentInBytes) ? (nint)view.Start & alignmentInBytes - 1 : (nint)view.Start % alignmentInBytes;
        return past == 0 ? view : throw Misaligned(view.Block, alignmentInBytes, past);
    }

    private static KernelFault Misaligned(Block? block, int alignment, nint past) => Fault.Of(FaultKind.Misaligned,
        $"AsAligned({alignment}) of a view that starts {past} bytes past such an address on {block?.Label ?? "nothing"}");

    public static ArrayView1D<T, Stride1D.Dense> AsAligned<T>(this ArrayView1D<T, Stride1D.Dense> view, int alignmentInBytes) where T : unmanaged =>
        view.BaseView.AsAligned(alignmentInBytes);

    public static ArrayView<T> AsAligned16<T>(this ArrayView<T> view) where T : unmanaged => view.AsAligned(16);

    public static ArrayView1D<T, Stride1D.Dense> AsAligned16<T>(this ArrayView1D<T, Stride1D.Dense> view) where T : unmanaged => view.AsAligned(16);

    public static MemoryBuffer1D<T, Stride1D.Dense> Allocate1D<T>(this Accelerator accelerator, T[] data) where T : unmanaged
    {
        MemoryBuffer1D<T, Stride1D.Dense> buffer = accelerator.Allocate1D<T>(data.Length);
        buffer.CopyFromCPU(data);
        return buffer;
    }

    // host -> device

    public static void CopyFromCPU<T>(this MemoryBuffer<ArrayView1D<T, Stride1D.Dense>> buffer, T[] data) where T : unmanaged =>
        Host.Write(buffer.View.BaseView, data);

    public static void CopyFromCPU<T>(this MemoryBuffer<ArrayView1D<T, Stride1D.Dense>> buffer, AcceleratorStream stream, T[] data)
        where T : unmanaged => Host.Write(buffer.View.BaseView, data);

    public static void CopyFromCPU<T>(this ArrayView1D<T, Stride1D.Dense> view, T[] data) where T : unmanaged => Host.Write(view.BaseView, data);

    public static void CopyFromCPU<T>(this ArrayView1D<T, Stride1D.Dense> view, AcceleratorStream stream, T[] data) where T : unmanaged =>
        Host.Write(view.BaseView, data);

    public static void CopyFromCPU<T>(this ArrayView<T> view, T[] data) where T : unmanaged => Host.Write(view, data);

    public static void CopyFromCPU<T>(this ArrayView<T> view, AcceleratorStream stream, T[] data) where T : unmanaged => Host.Write(view, data);

    public static void CopyFromCPU<T>(this ArrayView1D<T, Stride1D.Dense> target, AcceleratorStream stream, in ReadOnlySpan<T> span)
        where T : unmanaged => Host.Write(target.BaseView, span);

    public static void CopyFromCPU<T, TView>(this TView target, AcceleratorStream stream, in ReadOnlySpan<T> span)
        where T : unmanaged where TView : IContiguousArrayView<T> => Host.Write(Host.Raw(target), MemoryMarshal.AsBytes(span));

    public static void CopyFromCPU<T, TView>(this TView target, in ReadOnlySpan<T> span)
        where T : unmanaged where TView : IContiguousArrayView<T> => Host.Write(Host.Raw(target), MemoryMarshal.AsBytes(span));

    public static void CopyFromCPU<T>(this ArrayView1D<T, Stride1D.Dense> target, ref T cpuData, long length) where T : unmanaged =>
        Host.Write(target.BaseView, MemoryMarshal.CreateReadOnlySpan(ref cpuData, checked((int)length)));

    public static void CopyFromCPU<T>(this ArrayView1D<T, Stride1D.Dense> target, AcceleratorStream stream, ref T cpuData, long length)
        where T : unmanaged => target.CopyFromCPU(ref cpuData, length);

    public static void CopyFromCPU<T, TView>(this TView target, AcceleratorStream stream, ref T cpuData, long length)
        where T : unmanaged where TView : IContiguousArrayView<T> =>
        target.CopyFromCPU(stream, (ReadOnlySpan<T>)MemoryMarshal.CreateReadOnlySpan(ref cpuData, checked((int)length)));

    // device -> host

    public static void CopyToCPU<T>(this MemoryBuffer<ArrayView1D<T, Stride1D.Dense>> buffer, T[] data) where T : unmanaged =>
        Host.Read(buffer.View.BaseView, data);

    public static void CopyToCPU<T>(this MemoryBuffer<ArrayView1D<T, Stride1D.Dense>> buffer, AcceleratorStream stream, T[] data)
        where T : unmanaged => Host.Read(buffer.View.BaseView, data);

    public static void CopyToCPU<T>(this ArrayView1D<T, Stride1D.Dense> view, T[] data) where T : unmanaged => Host.Read(view.BaseView, data);

    public static void CopyToCPU<T>(this ArrayView1D<T, Stride1D.Dense> view, AcceleratorStream stream, T[] data) where T : unmanaged =>
        Host.Read(view.BaseView, data);

    public static void CopyToCPU<T>(this ArrayView<T> view, T[] data) where T : unmanaged => Host.Read(view, data);

    public static void CopyToCPU<T>(this ArrayView<T> view, AcceleratorStream stream, T[] data) where T : unmanaged => Host.Read(view, data);

    public static void CopyToCPU<T>(this ArrayView1D<T, Stride1D.Dense> source, AcceleratorStream stream, in Span<T> span) where T : unmanaged =>
        Host.Read(source.BaseView, span);

    public static void CopyToCPU<T, TView>(this TView source, AcceleratorStream stream, in Span<T> span)
        where T : unmanaged where TView : IContiguousArrayView<T> => Host.Read(Host.Raw(source), MemoryMarshal.AsBytes(span));

    public static void CopyToCPU<T, TView>(this TView source, in Span<T> span)
        where T : unmanaged where TView : IContiguousArrayView<T> => Host.Read(Host.Raw(source), MemoryMarshal.AsBytes(span));

    public static void CopyToCPU<T>(this ArrayView1D<T, Stride1D.Dense> source, ref T cpuData, long length) where T : unmanaged =>
        Host.Read(source.BaseView, MemoryMarshal.CreateSpan(ref cpuData, checked((int)length)));

    public static void CopyToCPU<T>(this ArrayView1D<T, Stride1D.Dense> source, AcceleratorStream stream, ref T cpuData, long length)
        where T : unmanaged => source.CopyToCPU(ref cpuData, length);

    public static void CopyToCPU<T, TView>(this TView source, AcceleratorStream stream, ref T cpuData, long length)
        where T : unmanaged where TView : IContiguousArrayView<T> =>
        source.CopyToCPU(stream, MemoryMarshal.CreateSpan(ref cpuData, checked((int)length)));

    public static T[] GetAsArray1D<T>(this MemoryBuffer<ArrayView1D<T, Stride1D.Dense>> buffer) where T : unmanaged => buffer.View.GetAsArray1D();

    public static T[] GetAsArray1D<T>(this MemoryBuffer<ArrayView1D<T, Stride1D.Dense>> buffer, AcceleratorStream stream) where T : unmanaged =>
        buffer.View.GetAsArray1D();

    public static T[] GetAsArray1D<T>(this ArrayView1D<T, Stride1D.Dense> view) where T : unmanaged
    {
        T[] data = new T[view.Length];
        Host.Read(view.BaseView, data);
        return data;
    }

    public static T[] GetAsArray1D<T>(this ArrayView1D<T, Stride1D.Dense> view, AcceleratorStream stream) where T : unmanaged => view.GetAsArray1D();

    // device -> device

    public static void CopyFrom<T>(this ArrayView1D<T, Stride1D.Dense> target, in ArrayView1D<T, Stride1D.Dense> source) where T : unmanaged =>
        Host.Copy(Host.Raw(source.BaseView), Host.Raw(target.BaseView));

    public static void CopyFrom<T>(this ArrayView1D<T, Stride1D.Dense> target, AcceleratorStream stream, in ArrayView1D<T, Stride1D.Dense> source)
        where T : unmanaged => Host.Copy(Host.Raw(source.BaseView), Host.Raw(target.BaseView));

    public static void CopyFrom<TView>(this TView target, AcceleratorStream stream, in TView source) where TView : IContiguousArrayView =>
        Host.Copy(Host.Raw(source), Host.Raw(target));

    public static void CopyFrom<TView>(this TView target, in TView source) where TView : IContiguousArrayView =>
        Host.Copy(Host.Raw(source), Host.Raw(target));

    public static void CopyTo<T>(this ArrayView1D<T, Stride1D.Dense> source, ArrayView1D<T, Stride1D.Dense> target) where T : unmanaged =>
        Host.Copy(Host.Raw(source.BaseView), Host.Raw(target.BaseView));

    public static void CopyTo<T>(this ArrayView1D<T, Stride1D.Dense> source, AcceleratorStream stream, in ArrayView1D<T, Stride1D.Dense> target)
        where T : unmanaged => Host.Copy(Host.Raw(source.BaseView), Host.Raw(target.BaseView));

    public static void CopyTo<TView>(this TView source, AcceleratorStream stream, in TView target) where TView : IContiguousArrayView =>
        Host.Copy(Host.Raw(source), Host.Raw(target));

    public static void CopyTo<TView>(this TView source, in TView target) where TView : IContiguousArrayView =>
        Host.Copy(Host.Raw(source), Host.Raw(target));

    public static void MemSet<T>(this ArrayView1D<T, Stride1D.Dense> view, byte value) where T : unmanaged => Host.Fill(Host.Raw(view.BaseView), value);

    public static void MemSet<T>(this ArrayView1D<T, Stride1D.Dense> view, AcceleratorStream stream, byte value) where T : unmanaged =>
        Host.Fill(Host.Raw(view.BaseView), value);

    public static void MemSet<TView>(this TView view, AcceleratorStream stream, byte value) where TView : IContiguousArrayView =>
        Host.Fill(Host.Raw(view), value);

    public static void MemSet<TView>(this TView view, byte value) where TView : IContiguousArrayView => Host.Fill(Host.Raw(view), value);

    public static void MemSetToZero<T>(this ArrayView1D<T, Stride1D.Dense> view) where T : unmanaged => Host.Fill(Host.Raw(view.BaseView), 0);

    public static void MemSetToZero<T>(this ArrayView1D<T, Stride1D.Dense> view, AcceleratorStream stream) where T : unmanaged =>
        Host.Fill(Host.Raw(view.BaseView), 0);

    public static void MemSetToZero<TView>(this TView view) where TView : IContiguousArrayView => Host.Fill(Host.Raw(view), 0);

    public static void MemSetToZero<TView>(this TView view, AcceleratorStream stream) where TView : IContiguousArrayView =>
        Host.Fill(Host.Raw(view), 0);
}
