using System.Buffers.Binary;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// One safetensors file, memory-mapped. <see cref="Open"/> checks all of it before anything is used; <see cref="Get"/>
/// copies nothing. Tensors are views of the file: they are gone when it is disposed.
/// </summary>
/// <remarks>Layout: u64 little-endian n; n bytes of JSON, padded with spaces; the data, row-major, little-endian.</remarks>
public sealed unsafe class SafetensorsFile : IDisposable
{
    internal const int LengthBytes = sizeof(ulong);

    private readonly MappedStorage _file;
    private readonly long _dataStart;
    private readonly Dictionary<string, TensorEntry> _byName;
    private readonly Dictionary<string, NativeStorage> _aligned = [];

    private SafetensorsFile(string path, MappedStorage file, long dataStart, SafetensorsHeader header)
    {
        (Path, _file, _dataStart) = (path, file, dataStart);
        (Entries, Metadata) = (header.Entries, header.Metadata);
        _byName = header.Entries.ToDictionary(entry => entry.Name, StringComparer.Ordinal);
    }

    /// <exception cref="CheckpointException">The file cannot be read or breaks a rule of the format.</exception>
    public static SafetensorsFile Open(string path)
    {
        MappedStorage file = MappedStorage.Open(path);
        try
        {
            int headerBytes = HeaderBytes(path, file);
            long dataStart = LengthBytes + headerBytes;
            var text = new ReadOnlySpan<byte>(file.Pointer + LengthBytes, headerBytes);
            return new SafetensorsFile(path, file, dataStart, SafetensorsHeader.Parse(path, text, file.Bytes - dataStart));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public string Path { get; }

    /// <summary>In the order of their data, so that a loop over them reads the file from front to back.</summary>
    public IReadOnlyList<TensorEntry> Entries { get; }

    /// <summary>The strings under <c>__metadata__</c>; empty if there are none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <exception cref="CheckpointException">The file has no such tensor.</exception>
    public TensorEntry Entry(string name) =>
        _byName.TryGetValue(name, out TensorEntry? entry) ? entry : throw new CheckpointException(Path, "there is no such tensor", name);

    /// <summary>The tensor, read-only, over the mapped file; over an aligned copy if the file does not align its elements.</summary>
    /// <exception cref="CheckpointException">
    /// There is no such tensor, or its type, rank or a dimension is beyond what <see cref="Tensor"/> can be.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public Tensor Get(string name)
    {
        TensorEntry entry = Entry(name);
        DType dtype = FileDTypes.Parse(entry.DType)
            ?? throw new CheckpointException(Path, $"dtype {entry.DType} is not supported", name);
        Shape shape = ShapeOf(entry);
        byte* address = _file.Pointer + _dataStart + entry.Begin;
        return (nuint)address % (nuint)dtype.Size() == 0
            ? new Tensor(shape, dtype, _file, _dataStart + entry.Begin) { Name = name }
            : new Tensor(shape, dtype, AlignedCopy(entry, address)) { Name = name };
    }

    public void Dispose()
    {
        _file.Dispose();
        lock (_aligned)
            foreach (NativeStorage copy in _aligned.Values)
                copy.Dispose();
    }

    private static int HeaderBytes(string path, MappedStorage file)
    {
        if (file.Bytes < LengthBytes)
            throw new CheckpointException(path, $"{file.Bytes} bytes are too few for the header's length, which takes {LengthBytes}");
        ulong claimed = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(file.Pointer, LengthBytes));
        ulong present = (ulong)(file.Bytes - LengthBytes);
        if (claimed == 0)
            throw new CheckpointException(path, "the header's length is 0");
        if (claimed > SafetensorsHeader.MaxBytes)
            throw new CheckpointException(path, $"the header claims {claimed} bytes; the limit is {SafetensorsHeader.MaxBytes}");
        if (claimed > present)
            throw new CheckpointException(path, $"truncated: of {claimed} bytes of header {claimed - present} are missing");
        return (int)claimed;
    }

    private Shape ShapeOf(TensorEntry entry)
    {
        if (entry.Shape.Count > Shape.MaxRank)
            throw new CheckpointException(Path, $"{entry.Shape.Count} dimensions, but at most {Shape.MaxRank} are supported", entry.Name);
        Span<int> dims = stackalloc int[entry.Shape.Count];
        for (int i = 0; i < dims.Length; i++)
            dims[i] = entry.Shape[i] <= int.MaxValue
                ? (int)entry.Shape[i]
                : throw new CheckpointException(Path, $"dimension {entry.Shape[i]} is beyond {int.MaxValue}", entry.Name);
        return Shape.Of(dims);
    }

    private NativeStorage AlignedCopy(TensorEntry entry, byte* source)
    {
        lock (_aligned)
        {
            if (!_aligned.TryGetValue(entry.Name, out NativeStorage? copy))
            {
                _aligned.Add(entry.Name, copy = new NativeStorage(entry.Bytes));
                Buffer.MemoryCopy(source, copy.Pointer, entry.Bytes, entry.Bytes);
                GC.KeepAlive(_file);
            }
            return copy;
        }
    }
}
