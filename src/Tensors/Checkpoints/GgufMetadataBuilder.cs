using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>The metadata of a GGUF file that is to be written, in the order of the calls. The type of a value is that of the argument.</summary>
public sealed class GgufMetadataBuilder
{
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly ArrayBufferWriter<byte> _bytes = new();
    private readonly HashSet<string> _keys = new(StringComparer.Ordinal);

    /// <summary>How many keys there are.</summary>
    public int Count => _keys.Count;

    internal ReadOnlySpan<byte> Bytes => _bytes.WrittenSpan;

    /// <exception cref="ArgumentException">The key is there already, or the text has half a surrogate pair; so for all of these.</exception>
    public GgufMetadataBuilder Add(string key, string value)
    {
        Begin(key, GgufType.String);
        Write(value);
        return this;
    }

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, int value) => Add(key, GgufType.I32, value);

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, uint value) => Add(key, GgufType.U32, value);

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, float value) => Add(key, GgufType.F32, value);

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, bool value) => Add(key, GgufType.Bool, value ? (byte)1 : (byte)0);

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, IReadOnlyList<string> values) => Add(key, GgufType.String, values, Write);

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, IReadOnlyList<float> values) => Add(key, GgufType.F32, values, Write);

    /// <inheritdoc cref="Add(string, string)"/>
    public GgufMetadataBuilder Add(string key, IReadOnlyList<int> values) => Add(key, GgufType.I32, values, Write);

    /// <summary>What a reader will find, to see before anything is written whether it means the same.</summary>
    /// <param name="file">For messages.</param>
    public unsafe GgufMetadata Read(string file)
    {
        NativeStorage storage = new(_bytes.WrittenCount);
        Bytes.CopyTo(new Span<byte>(storage.Pointer, _bytes.WrittenCount));
        GgufCursor cursor = new(file, storage.Pointer, storage.Bytes);
        return GgufMetadata.Parse(file, storage, ref cursor, (ulong)Count);
    }

    private GgufMetadataBuilder Add<T>(string key, GgufType type, T value) where T : unmanaged
    {
        Begin(key, type);
        Write(value);
        return this;
    }

    private GgufMetadataBuilder Add<T>(string key, GgufType element, IReadOnlyList<T> values, Action<T> write)
    {
        Begin(key, GgufType.Array);
        Write((uint)element);
        Write((ulong)values.Count);
        foreach (T value in values)
            write(value);
        return this;
    }

    private void Begin(string key, GgufType type)
    {
        if (!_keys.Add(key))
            throw new ArgumentException($"the key {key} is there already");
        Write(key);
        Write((uint)type);
    }

    internal static byte[] Encode(string text) => Utf8.GetBytes(text);

    private void Write(string text)
    {
        byte[] utf8 = Encode(text);
        Write((ulong)utf8.Length);
        _bytes.Write(utf8);
    }

    /// <summary>As it lies in memory: little-endian, as the host must be.</summary>
    private void Write<T>(T value) where T : unmanaged => _bytes.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
}
