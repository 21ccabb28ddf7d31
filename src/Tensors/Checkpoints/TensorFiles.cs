namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// All tensors of a checkpoint by name, wherever they lie: a folder with <c>model.safetensors</c>, a folder with shards
/// and their index, or one file. As in the reference loader, a single file wins over an index beside it.
/// </summary>
public sealed class TensorFiles : IDisposable
{
    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, SafetensorsFile> _byName = new(StringComparer.Ordinal);

    private TensorFiles(string path) => Path = path;

    /// <param name="path">A checkpoint's folder, or a <c>.safetensors</c> file.</param>
    /// <exception cref="CheckpointException">There is none, a file breaks its format, or the index and the shards disagree.</exception>
    public static TensorFiles Open(string path)
    {
        var files = new TensorFiles(path);
        try
        {
            files.OpenAll();
            return files;
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>What was opened.</summary>
    public string Path { get; }

    /// <summary>In ordinal order.</summary>
    public IReadOnlyList<string> Names { get; private set; } = [];

    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>What its file says about a tensor, without touching the data.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public TensorEntry Entry(string name) => Owner(name).Entry(name);

    /// <inheritdoc cref="SafetensorsFile.Get"/>
    public Tensor Get(string name) => Owner(name).Get(name);

    /// <summary>The path of the file that holds a tensor, for messages.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public string FileOf(string name) => Owner(name).Path;

    public void Dispose()
    {
        foreach (SafetensorsFile file in _files)
            file.Dispose();
    }

    private SafetensorsFile Owner(string name) =>
        _byName.TryGetValue(name, out SafetensorsFile? file) ? file : throw new CheckpointException(Path, "there is no such tensor", name);

    private void OpenAll()
    {
        string single = System.IO.Path.Combine(Path, ShardIndex.SingleFileName);
        string index = System.IO.Path.Combine(Path, ShardIndex.FileName);
        if (!Directory.Exists(Path))
            Add(Path);
        else if (File.Exists(single))
            Add(single);
        else if (File.Exists(index))
            AddShards(index);
        else
            throw new CheckpointException(Path, $"the folder has neither {ShardIndex.SingleFileName} nor {ShardIndex.FileName}");
        string[] names = [.. _byName.Keys];
        Array.Sort(names, StringComparer.Ordinal);
        Names = names;
    }

    private void Add(string path)
    {
        var file = SafetensorsFile.Open(path);
        _files.Add(file);
        foreach (TensorEntry entry in file.Entries)
            if (!_byName.TryAdd(entry.Name, file))
                throw new CheckpointException(path, $"is in {System.IO.Path.GetFileName(FileOf(entry.Name))} too", entry.Name);
    }

    private void AddShards(string index)
    {
        Dictionary<string, string> map = ShardIndex.Read(index);
        foreach (string shard in map.Values.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            string path = System.IO.Path.Combine(Path, shard);
            if (!File.Exists(path))
                throw new CheckpointException(index, $"its shard {shard} does not exist", map.First(pair => pair.Value == shard).Key);
            Add(path);
        }
        foreach ((string name, string shard) in map)
            if (!Contains(name) || System.IO.Path.GetFileName(FileOf(name)) != shard)
                throw new CheckpointException(index, $"its shard {shard} does not hold it", name);
        foreach (string name in _byName.Keys)
            if (!map.ContainsKey(name))
                throw new CheckpointException(FileOf(name), $"is not listed in {ShardIndex.FileName}", name);
    }
}
