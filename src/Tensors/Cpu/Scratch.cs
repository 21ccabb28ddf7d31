namespace MoeFromScratch.Tensors.Cpu;

/// <summary>One native buffer that only grows: working memory of a kernel, dirty between calls.</summary>
/// <param name="poison">Fill with NaNs at each call, so that a kernel that reads before it writes is seen (tests).</param>
internal sealed unsafe class Scratch(bool poison) : IDisposable
{
    private NativeStorage _storage = new(0);

    /// <summary>At least so many elements, cache-line aligned; what was there before is lost.</summary>
    public T* Get<T>(long count) where T : unmanaged
    {
        long bytes = checked(count * sizeof(T));
        if (bytes > _storage.Bytes)
        {
            _storage.Dispose();
            _storage = new NativeStorage(BufferPool.SizeClass(bytes));
        }
        if (poison)
            new Span<byte>(_storage.Pointer, (int)Math.Min(bytes, int.MaxValue)).Fill(0xFF);
        return (T*)_storage.Pointer;
    }

    public void Dispose() => _storage.Dispose();
}
