using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// Writes safetensors files, atomically: a reader finds the old file or the new one, never a part. Tensors lie in the
/// order of their element size (largest first), then of their names, so that every one is aligned without gaps; a
/// file of one element type comes out byte for byte as the reference implementation writes it.
/// </summary>
public static partial class SafetensorsWriter
{
    private const int HeaderAlignment = 8;

    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Writes one file, in place of whatever is at <paramref name="path"/>.</summary>
    /// <param name="tensors">In host memory, any order; they may be views of the file that is replaced.</param>
    /// <param name="metadata">Strings for <c>__metadata__</c>; the reference loaders want <c>format: pt</c> in weights.</param>
    /// <exception cref="ArgumentException">A name twice, a name the format cannot hold, or a tensor that is not in host memory or quantised.</exception>
    /// <exception cref="IOException">The file cannot be written; what was there is still there.</exception>
    [OverloadResolutionPriority(1)]   // an empty list
    public static void Write(
        string path, IReadOnlyList<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        Write(path, Planned(tensors), metadata);
    }

    /// <summary>Writes one file, in place of whatever is at <paramref name="path"/>, of tensors that are made one after the other.</summary>
    /// <inheritdoc cref="Write(string, IReadOnlyList{ValueTuple{string, Tensor}}, IReadOnlyDictionary{string, string}?)"/>
    public static void Write(string path, IReadOnlyList<PlannedTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        CheckTensors(tensors);
        using var replacement = new FileReplacement(path, stream => WriteFile(stream, tensors, metadata));
        replacement.Commit();
    }

    /// <summary>Writes into a stream, for outputs that are no checkpoint.</summary>
    /// <inheritdoc cref="Write(string, IReadOnlyList{ValueTuple{string, Tensor}}, IReadOnlyDictionary{string, string}?)"/>
    public static void Write(Stream stream, IReadOnlyList<(string Name, Tensor Tensor)> tensors)
    {
        List<PlannedTensor> planned = Planned(tensors);
        CheckTensors(planned);
        WriteFile(stream, planned, metadata: null);
    }

    private static List<PlannedTensor> Planned(IReadOnlyList<(string Name, Tensor Tensor)> tensors) =>
        [.. tensors.Select(static t => PlannedTensor.Of(t.Name, t.Tensor))];

    private static void CheckTensors(IReadOnlyList<PlannedTensor> tensors)
    {
        HashSet<string> names = [SafetensorsHeader.MetadataKey];
        foreach (PlannedTensor tensor in tensors)
        {
            if (!names.Add(tensor.Name))
                throw new ArgumentException(tensor.Name == SafetensorsHeader.MetadataKey
                    ? $"no tensor can be called {tensor.Name}" : $"two tensors are called {tensor.Name}");
            if (tensor.DType.IsQuantised())
                throw new ArgumentException($"{tensor.Name} is {tensor.DType}, which safetensors files cannot hold");
        }
    }

    private static void WriteFile(
        Stream stream, IEnumerable<PlannedTensor> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        List<PlannedTensor> ordered = [.. tensors.OrderByDescending(t => t.DType.Size()).ThenBy(t => t.Name, StringComparer.Ordinal)];
        ReadOnlySpan<byte> header = Header(ordered, metadata);
        Span<byte> length = stackalloc byte[SafetensorsFile.LengthBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        stream.Write(length);
        stream.Write(header);
        foreach (PlannedTensor tensor in ordered)
            tensor.WriteTo(stream);
    }

    /// <summary>The JSON, padded so that the data begin at a multiple of eight.</summary>
    private static ReadOnlySpan<byte> Header(
        List<PlannedTensor> ordered, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
                WriteMetadata(json, metadata);
            long offset = 0;
            foreach (PlannedTensor tensor in ordered)
                WriteEntry(json, tensor, ref offset);
            json.WriteEndObject();
        }
        int padding = (HeaderAlignment - buffer.WrittenCount % HeaderAlignment) % HeaderAlignment;
        buffer.Write("       "u8[..padding]);
        return buffer.WrittenCount <= SafetensorsHeader.MaxBytes
            ? buffer.WrittenSpan
            : throw new ArgumentException($"a header of {buffer.WrittenCount} bytes; the limit is {SafetensorsHeader.MaxBytes}");
    }

    private static void WriteMetadata(Utf8JsonWriter json, IReadOnlyDictionary<string, string> metadata)
    {
        json.WriteStartObject(SafetensorsHeader.MetadataKey);
        foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            json.WriteString(Utf8.GetBytes(key), Utf8.GetBytes(value));
        json.WriteEndObject();
    }

    private static void WriteEntry(Utf8JsonWriter json, PlannedTensor tensor, ref long offset)
    {
        json.WriteStartObject(Utf8.GetBytes(tensor.Name));    // as bytes: half a surrogate pair throws instead of turning into U+FFFD
        json.WriteString("dtype", tensor.DType.ToString());
        json.WriteStartArray("shape");
        foreach (int dimension in tensor.Shape)
            json.WriteNumberValue(dimension);
        json.WriteEndArray();
        json.WriteStartArray("data_offsets");
        json.WriteNumberValue(offset);
        json.WriteNumberValue(offset = checked(offset + tensor.Bytes));
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
