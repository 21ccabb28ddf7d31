using System.Runtime.InteropServices;

namespace MoeFromScratch.Tensors;

/// <summary>A block of memory somewhere. Only the backend that made it knows where.</summary>
public abstract class Storage
{
    /// <summary>Usable size in bytes.</summary>
    public abstract long Bytes { get; }
}

/// <summary>Memory this process can read through a pointer: pooled native memory, or a mapped file.</summary>
public abstract unsafe class HostStorage : Storage
{
    /// <summary>First byte; stays where it is for the storage's life.</summary>
    public abstract byte* Pointer { get; }
}

/// <summary>Native memory, aligned to a cache line, so that no vector load straddles two.</summary>
public sealed unsafe class NativeStorage : HostStorage, IDisposable
{
    private const nuint CacheLine = 64;
    private byte* _pointer;

    public NativeStorage(long bytes)
    {
        Bytes = bytes;
        _pointer = (byte*)NativeMemory.AlignedAlloc(checked((nuint)Math.Max(bytes, 1)), CacheLine);
        GC.AddMemoryPressure(Math.Max(bytes, 1));
    }

    public override long Bytes { get; }

    public override byte* Pointer =>
        _pointer != null ? _pointer : throw new ObjectDisposedException(nameof(NativeStorage));

    public void Dispose()
    {
        Release();
        GC.SuppressFinalize(this);
    }

    ~NativeStorage() => Release();

    private void Release()
    {
        if (_pointer == null)
            return;
        NativeMemory.AlignedFree(_pointer);
        _pointer = null;
        GC.RemoveMemoryPressure(Math.Max(Bytes, 1));
    }
}
