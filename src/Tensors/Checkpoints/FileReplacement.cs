namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>A file written and flushed beside its place; it takes the place on <see cref="Commit"/> and vanishes otherwise.</summary>
internal sealed class FileReplacement : IDisposable
{
    private const string TemporarySuffix = ".tmp";

    private readonly string _temporary;

    public FileReplacement(string path, Action<Stream> write)
    {
        Path = path;
        _temporary = path + TemporarySuffix;
        try
        {
            using var stream = new FileStream(_temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16);
            write(stream);
            stream.Flush(flushToDisk: true);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public string Path { get; }

    public void Commit() => File.Move(_temporary, Path, overwrite: true);

    public void Dispose()
    {
        if (File.Exists(_temporary))   // where its folder is missing, deleting would hide that
            File.Delete(_temporary);
    }
}
