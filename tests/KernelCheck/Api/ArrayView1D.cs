namespace ILGPU.Runtime;

public readonly struct ArrayView1D<T, TStride> : IArrayView<T> where T : unmanaged where TStride : struct, IStride1D
{
    public ArrayView1D(ArrayView<T> baseView, LongIndex1D extent, TStride stride) => (Base, Extent, Stride) = (baseView, extent, stride);

    internal readonly ArrayView<T> Base;

    public ArrayView<T> BaseView => Base;
    public LongIndex1D Extent { get; }
    public TStride Stride { get; }

    public Index1D IntExtent => (Index1D)Extent;
    public long Length => Extent.X;
    public int IntLength => checked((int)Extent.X);
    public long LengthInBytes => BaseView.LengthInBytes;
    public bool IsValid => BaseView.IsValid;

    unsafe int IArrayView.ElementSize => sizeof(T);
    MemoryBuffer IArrayView.Buffer => ((IArrayView)BaseView).Buffer;

    public ref T this[Index1D index] => ref BaseView[index];
    public ref T this[LongIndex1D index] => ref BaseView[index];

    public ArrayView<T> AsContiguous() => BaseView;
    public ArrayView1D<T, Stride1D.Dense> AsDense() => BaseView;

    public ArrayView1D<T, TStride> SubView(Index1D index, Index1D extent) => SubView((LongIndex1D)index, extent);

    public ArrayView1D<T, TStride> SubView(LongIndex1D index, LongIndex1D extent) =>
        new(BaseView.SubView(index.X, extent.X), extent, Stride);
}
