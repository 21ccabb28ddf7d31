using MoeFromScratch.Model.Training;

namespace MoeFromScratch.Model;

/// <summary>
/// The folder of a model that is made of another one. Everything is written under another name in it; only what is complete is moved into
/// its place, the weights last, so that a folder with weights is a whole model however the process ends.
/// </summary>
public sealed class ModelFolder : IDisposable
{
    private const string Weights = "model";

    private readonly string _path;
    private readonly string[] _missing;     // not there yet, innermost first
    private readonly TrainingFolder _folder;
    private readonly bool _overwrite;
    private IDisposable? _alone;

    /// <param name="source">What the model is made of: a folder, or a file.</param>
    /// <exception cref="ArgumentException">It is a file, holds the source, or a model that may not be replaced.</exception>
    public ModelFolder(string path, string source, bool overwrite)
    {
        if (path.Length == 0 || File.Exists(path))
            throw new ArgumentException($"--out '{path}' is no folder");
        if (RealPath.Holds(path, source))
            throw new ArgumentException($"--out {path} holds {source}, which would be replaced: choose another folder");
        (_path, _folder, _overwrite) = (path, new TrainingFolder(path, limit: 1), overwrite);
        RequireFree();
        List<string> missing = [];
        for (string? folder = Path.GetFullPath(path); folder is not null && !Directory.Exists(folder); folder = Path.GetDirectoryName(folder))
            missing.Add(folder);
        _missing = [.. missing];
        Unfinished = Path.Combine(path, ".unfinished");
    }

    /// <summary>Where the model is a checkpoint before it is in its place.</summary>
    public string Unfinished { get; }

    /// <summary>Makes <see cref="Unfinished"/>, and keeps other runs out.</summary>
    /// <exception cref="IOException">Another run is in the folder.</exception>
    public void Begin()
    {
        _alone = _folder.Lock();
        RequireFree();      // another run may have ended since
        Clear();
        Directory.CreateDirectory(Unfinished);
    }

    /// <summary>Writes a file there, flushed.</summary>
    public void Write(string name, ReadOnlySpan<byte> content)
    {
        using FileStream stream = new(Path.Combine(Unfinished, name), FileMode.Create, FileAccess.Write);
        stream.Write(content);
        stream.Flush(flushToDisk: true);
    }

    /// <summary>Takes the place of what was there.</summary>
    public void Finish()
    {
        _folder.Start();
        foreach (string file in Directory.EnumerateFiles(Unfinished).OrderBy(static f => Rank(Path.GetFileName(f))).ToList())
            File.Move(file, Path.Combine(_path, Path.GetFileName(file)), overwrite: true);
        Directory.Delete(Unfinished);
    }

    /// <summary>Leaves nothing of a model that was not finished.</summary>
    public void Dispose()
    {
        if (_alone is null)
            return;
        Clear();
        _alone.Dispose();
        foreach (string folder in _missing)
            if (Directory.Exists(folder) && !Directory.EnumerateFileSystemEntries(folder).Any())
                Directory.Delete(folder);
    }

    private void RequireFree()
    {
        if (_folder.IsUsed && !_overwrite)
            throw new ArgumentException($"{_path} already holds a model; replace it with --overwrite, or choose another folder");
    }

    private void Clear()
    {
        if (Directory.Exists(Unfinished))
            Directory.Delete(Unfinished, recursive: true);
    }

    /// <summary>First what describes the weights, then shards, last what makes the folder a checkpoint.</summary>
    private static int Rank(string file) => !file.StartsWith(Weights, StringComparison.Ordinal) ? 0 : file.Contains("-of-", StringComparison.Ordinal) ? 1 : 2;
}
