using System.IO.MemoryMappedFiles;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// A whole file as read-only memory: pages are read on first touch and shared between processes. Writing through the
/// pointer ends the process, so weights that are trained are copied first. Elements are little-endian, as the host must be.
/// </summary>
public sealed unsafe class MappedStorage : HostStorage, IDisposable
{
    private readonly MemoryMappedViewAccessor _view;
    private byte* _pointer;

    private MappedStorage(MemoryMappedViewAccessor view, long bytes)
    {
        (_view, Bytes) = (view, bytes);
        byte* page = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref page);
        _pointer = page + view.PointerOffset;
    }

    /// <exception cref="CheckpointException">The file is missing, empty or cannot be read.</exception>
    public static MappedStorage Open(string path)
    {
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: 0 })   // before opening: a pipe has no length, and would wait for a writer
                throw new CheckpointException(path, "the file is empty");
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0);
            long bytes = stream.Length;
            if (bytes == 0)
                throw new CheckpointException(path, "the file is empty");
            using var map = MemoryMappedFile.CreateFromFile(
                stream, mapName: null, capacity: 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            return new MappedStorage(map.CreateViewAccessor(0, bytes, MemoryMappedFileAccess.Read), bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new CheckpointException(path, e is FileNotFoundException or DirectoryNotFoundException
                ? "there is no such file" : $"cannot be opened: {e.Message}", inner: e);
        }
    }

    public override long Bytes { get; }

    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public override byte* Pointer =>
        _pointer != null ? _pointer : throw new ObjectDisposedException(nameof(MappedStorage), "the file of this tensor was closed");

    public void Dispose()
    {
        Release();
        _view.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>The view's handle counts our pointer; without this a forgotten file would stay mapped.</summary>
    ~MappedStorage() => Release();

    private void Release()
    {
        if (_pointer == null)
            return;
        _pointer = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
    }
}
