using ILGPU.Runtime;
using MoeFromScratch.KernelCheck;

namespace ILGPU;

/// <summary>A window on a block of the arena: what kernels read and write.</summary>
public readonly unsafe struct ArrayView<T> : IContiguousArrayView<T> where T : unmanaged
{
    public static readonly ArrayView<T> Empty;
    public static readonly int ElementSize = sizeof(T);

    internal readonly byte* Start;
    private readonly long _length;

    /// <summary>A reference, as in ILGPU: no view is unmanaged.</summary>
    internal readonly Block? Block;

    internal ArrayView(Block? block, byte* start, long length)
    {
        Block = block;
        Start = start;
        _length = length;
    }

    public ArrayView(MemoryBuffer source, long index, long length)
    {
        Block = source.Block;
        Block.CheckRange(index * sizeof(T), length * sizeof(T), "a new view");
        Start = Block.Start + index * sizeof(T);
        _length = length;
    }

    public long Length => _length;
    public int IntLength => checked((int)_length);
    public long LengthInBytes => _length * sizeof(T);
    public LongIndex1D Extent => new(_length);
    public Index1D IntExtent => new(IntLength);
    public Stride1D.Dense Stride => default;
    public bool IsValid => Block is not null;

    int IArrayView.ElementSize => sizeof(T);
    MemoryBuffer IArrayView.Buffer => (Block ?? throw new InvalidOperationException("an empty view has no buffer")).Buffer;
    long IContiguousArrayView.Index => (Start - Block!.Start) / sizeof(T);
    long IContiguousArrayView.IndexInBytes => Start - Block!.Start;
    ArrayView<byte> IContiguousArrayView.AsRawArrayView() => new(Block, Start, LengthInBytes);

    public ref T this[int index] => ref At(index);
    public ref T this[long index] => ref At(index);
    public ref T this[Index1D index] => ref At(index.X);
    public ref T this[LongIndex1D index] => ref At(index.X);

    /// <summary>Elements are a kernel's business: instrumented code reaches them by <see cref="Machine.At{T}(in ArrayView{T}, long, Machine, int)"/>.</summary>
    private static ref T At(long index) =>
        throw new InvalidOperationException($"element {index} of a view was asked for outside of a kernel: copy it with CopyToCPU");

    public ArrayView<T> SubView(long index) => SubView(index, _length - index);

    public ArrayView<T> SubView(int index, int subViewLength) => SubView((long)index, subViewLength);

    public ArrayView<T> SubView(long index, long subViewLength)
    {
        if ((ulong)index > (ulong)_length || (ulong)subViewLength > (ulong)(_length - index))
            throw Fault.Of(FaultKind.OutOfBounds, $"SubView({index}, {subViewLength}) of a view of {_length} elements on {Block?.Label ?? "nothing"}");
        return new(Block, Start + index * sizeof(T), subViewLength);
    }

    public ArrayView<TOther> Cast<TOther>() where TOther : unmanaged
    {
        // A device faults on a wide load from an address that is no multiple of its width.
        int alignment = Alignment(sizeof(TOther));
        if (((nint)Start & (alignment - 1)) != 0)
            throw Misaligned<TOther>(alignment);
        return new(Block, Start, LengthInBytes / sizeof(TOther));
    }

    private KernelFault Misaligned<TOther>(int alignment) => Fault.Of(FaultKind.Misaligned, $"Cast to {typeof(TOther).Name} of a view that starts "
        + $"{(nint)Start & (alignment - 1)} bytes past a multiple of {alignment} on {Block?.Label ?? "nothing"}");

    private static int Alignment(int size) => Math.Min(16, size & -size);

    public static implicit operator ArrayView<T>(ArrayView1D<T, Stride1D.Dense> view) => view.BaseView;

    public static implicit operator ArrayView1D<T, Stride1D.Dense>(ArrayView<T> view) => new(view, new(view.Length), default);
}
