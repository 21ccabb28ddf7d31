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

/// <summary>Native memory, aligned to a cache line, so that no vector load straddles two; large blocks lie in huge pages.</summary>
public sealed unsafe partial class NativeStorage : HostStorage, IDisposable
{
    private const nuint CacheLine = 64, HugePage = 2 << 20;
    private byte* _pointer;

    public NativeStorage(long bytes)
    {
        Bytes = bytes;
        nuint size = checked((nuint)Math.Max(bytes, 1));
        bool huge = OperatingSystem.IsLinux() && size >= 2 * HugePage;
        _pointer = (byte*)NativeMemory.AlignedAlloc(size, huge ? HugePage : CacheLine);
        if (huge)
            UseHugePages(_pointer, size);
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

    /// <summary>
    /// Asks for pages of 2 MB instead of 4 KB: a matrix's rows are often a page apart, and walking down them with small pages
    /// misses the address cache at each. Only whole huge pages, so nothing beyond the block is touched; advice, hence no check.
    /// </summary>
    private static void UseHugePages(byte* start, nuint size)
    {
        const int HugePages = 14;   // MADV_HUGEPAGE
        _ = Advise(start, size & ~(HugePage - 1), HugePages);
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* start, nuint size, int advice);
}
