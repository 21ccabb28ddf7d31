using ILGPU.Util;
using MoeFromScratch.KernelCheck;

namespace ILGPU.Runtime;

public abstract class AcceleratorObject : DisposeBase
{
    internal AcceleratorObject(Accelerator accelerator) => Accelerator = accelerator;

    public Accelerator Accelerator { get; }
    public AcceleratorType AcceleratorType => Accelerator.AcceleratorType;
}

public abstract class MemoryBuffer : AcceleratorObject
{
    internal MemoryBuffer(Accelerator accelerator, Type element, long length, int elementSize) : base(accelerator)
    {
        (Length, ElementSize) = (length, elementSize);
        Block = accelerator.Machine.Allocate(this, element, length, elementSize);
    }

    internal Block Block { get; }

    public long Length { get; }
    public int ElementSize { get; }
    public long LengthInBytes => Length * ElementSize;
    public unsafe IntPtr NativePtr => (IntPtr)Block.Start;

    public ArrayView<T> AsArrayView<T>(long offset, long length) where T : unmanaged => new(this, offset, length);
    public ArrayView<byte> AsRawArrayView() => new(this, 0, LengthInBytes);
    public ArrayView<byte> AsRawArrayView(long offsetInBytes) => new(this, offsetInBytes, LengthInBytes - offsetInBytes);
    public ArrayView<byte> AsRawArrayView(long offsetInBytes, long lengthInBytes) => new(this, offsetInBytes, lengthInBytes);

    private protected override void Free() => Accelerator.Machine.Free(Block);

    private protected override void Again() =>
        throw Fault.Of(FaultKind.DoubleFree, $"{Block.Label} is disposed of a second time");
}

public class MemoryBuffer<TView> : MemoryBuffer, IContiguousArrayView where TView : struct, IArrayView
{
    internal MemoryBuffer(Accelerator accelerator, Type element, long length, int elementSize) : base(accelerator, element, length, elementSize) { }

    protected MemoryBuffer Buffer => this;
    MemoryBuffer IArrayView.Buffer => this;
    public TView View { get; private protected init; }
    public bool IsValid => !IsDisposed;
    long IContiguousArrayView.Index => 0;
    long IContiguousArrayView.IndexInBytes => 0;

    public TView ToArrayView() => View;

    public static implicit operator TView(MemoryBuffer<TView> buffer) => buffer.View;
}

public class MemoryBuffer1D<T, TStride> : MemoryBuffer<ArrayView1D<T, TStride>> where T : unmanaged where TStride : struct, IStride1D
{
    internal unsafe MemoryBuffer1D(Accelerator accelerator, long length, TStride stride) : base(accelerator, typeof(T), length, sizeof(T)) =>
        View = new(new ArrayView<T>(this, 0, length), length, stride);

    public LongIndex1D Extent => View.Extent;
    public Index1D IntExtent => View.IntExtent;

    public ArrayView<T> AsContiguous() => View.BaseView;

    public static explicit operator ArrayView<T>(MemoryBuffer1D<T, TStride> buffer) => buffer.View.BaseView;
}
