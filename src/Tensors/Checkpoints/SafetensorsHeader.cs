using System.Globalization;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// The JSON of a safetensors file, <c>{"name": {"dtype", "shape", "data_offsets"}, …, "__metadata__": {…}}</c>, checked
/// completely: after <see cref="Parse"/> the entries cover the data without gap or overlap, and each range is as long
/// as its shape and type say. Nothing is allocated in proportion to a number the file claims.
/// </summary>
internal sealed class SafetensorsHeader
{
    public const string MetadataKey = "__metadata__";

    /// <summary>The limit of the reference implementation.</summary>
    public const long MaxBytes = 100_000_000;

    private const int Depth = 3;                   // header { entry { shape [

    private SafetensorsHeader(List<TensorEntry> entries, Dictionary<string, string> metadata) =>
        (Entries, Metadata) = (entries, metadata);

    /// <summary>In the order of their data.</summary>
    public List<TensorEntry> Entries { get; }

    public Dictionary<string, string> Metadata { get; }

    /// <param name="file">For messages.</param>
    /// <param name="text">The header without its length.</param>
    /// <param name="dataBytes">How many bytes follow the header.</param>
    /// <exception cref="CheckpointException">A rule of the format is broken.</exception>
    public static SafetensorsHeader Parse(string file, ReadOnlySpan<byte> text, long dataBytes)
    {
        if (text[0] != '{')
            throw new CheckpointException(file, "the header does not begin with '{'");
        var json = new StrictJson(file, text, Depth);
        List<TensorEntry> entries = [];
        Dictionary<string, string> metadata = [];
        HashSet<string> names = [];
        json.Object("the header");
        while (json.Key(names, out string name))
        {
            if (name == MetadataKey)
                ReadMetadata(ref json, metadata);
            else
                entries.Add(ReadEntry(ref json, name));
        }
        json.End(padding: " "u8);
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        CheckCoverage(file, entries, dataBytes);
        return new SafetensorsHeader(entries, metadata);
    }

    private static void ReadMetadata(ref StrictJson json, Dictionary<string, string> metadata)
    {
        HashSet<string> keys = [];
        json.Object(MetadataKey);
        while (json.Key(keys, out string key))
            metadata.Add(key, json.String($"{MetadataKey} {CheckpointException.Quote(key)}"));
    }

    private static TensorEntry ReadEntry(ref StrictJson json, string name)
    {
        json.Tensor = name;
        string? dtype = null;
        List<long>? shape = null, offsets = null;
        HashSet<string> keys = [];
        json.Object("its entry");
        while (json.Key(keys, out string key))
        {
            switch (key)
            {
                case "dtype":
                    dtype = json.String(key);
                    break;
                case "shape":
                    shape = json.Counts(key);
                    break;
                case "data_offsets":
                    offsets = json.Counts(key);
                    break;
                default:
                    throw json.Refuse($"unknown key {CheckpointException.Quote(key)}");
            }
        }
        if (dtype is null || shape is null || offsets is null)
            throw json.Refuse($"{(dtype is null ? "dtype" : shape is null ? "shape" : "data_offsets")} is missing");
        if (offsets is not [long begin, long end])
            throw json.Refuse($"data_offsets has {offsets.Count} numbers instead of 2");
        CheckSize(json, dtype, shape, begin, end);
        json.Tensor = null;
        return new TensorEntry(name, dtype, shape, begin, end);
    }

    /// <summary>product(shape) · bits per element = 8 · (end - begin), in arithmetic that cannot wrap.</summary>
    private static void CheckSize(in StrictJson json, string dtype, List<long> shape, long begin, long end)
    {
        if (begin > end)
            throw json.Refuse($"data_offsets begin at {begin}, after their end {end}");
        long bits = FileDTypes.Bits(dtype);
        if (bits == 0)
            throw json.Refuse($"unknown dtype {CheckpointException.Quote(dtype)}");
        foreach (long dimension in shape)
        {
            if (dimension != 0 && bits > long.MaxValue / dimension)
                throw json.Refuse($"{Describe(dtype, shape)} has more bytes than can be counted");
            bits *= dimension;
        }
        if (bits % 8 != 0 || bits / 8 != end - begin)
            throw json.Refuse($"{Describe(dtype, shape)} takes {Bytes(bits)} bytes, but data_offsets span {end - begin}");
    }

    private static string Describe(string dtype, List<long> shape) =>
        CheckpointException.Cut($"{dtype}[{string.Join(", ", shape)}]");

    private static string Bytes(long bits) => ((decimal)bits / 8).ToString(CultureInfo.InvariantCulture);

    /// <summary>The ranges follow each other and end where the file ends.</summary>
    private static void CheckCoverage(string file, List<TensorEntry> entries, long dataBytes)
    {
        long covered = 0;
        string? last = null;
        foreach (TensorEntry entry in entries)
        {
            if (entry.Begin < covered)
                throw new CheckpointException(file, $"its data overlap those of tensor {CheckpointException.Quote(last!)}", entry.Name);
            if (entry.Begin > covered)
                throw new CheckpointException(file, $"{entry.Begin - covered} bytes before its data belong to no tensor", entry.Name);
            (covered, last) = (entry.End, entry.Name);
        }
        if (covered > dataBytes)
            throw new CheckpointException(file, $"truncated: of {covered} bytes of data {covered - dataBytes} are missing", last);
        if (covered < dataBytes)
            throw new CheckpointException(file, $"the last {dataBytes - covered} bytes belong to no tensor");
    }
}
