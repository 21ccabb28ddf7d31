using System.Buffers.Binary;
using System.Globalization;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// The keys and values at the beginning of a GGUF file. All of them are checked for being there when the file is opened; a value
/// is decoded when it is asked for, so a vocabulary nobody needs costs nothing.
/// </summary>
/// <remarks>Each: key (u64 length, UTF-8), u32 type, value. A string is a u64 length and UTF-8, an array a u32 type, a u64 count and the values.</remarks>
public sealed unsafe class GgufMetadata
{
    private const int LongestKey = ushort.MaxValue, DeepestArray = 4;

    private readonly string _file;
    private readonly HostStorage _storage;
    private readonly Dictionary<string, Value> _values = new(StringComparer.Ordinal);
    private readonly List<string> _keys = [];

    private GgufMetadata(string file, HostStorage storage) => (_file, _storage) = (file, storage);

    /// <param name="Element">Of an array.</param>
    /// <param name="At">Where it begins, or an array's first value or a string's first byte.</param>
    /// <param name="Count">Values of an array, bytes of a string.</param>
    private readonly record struct Value(GgufType Type, GgufType Element, long At, long Count);

    /// <summary>In the order of the file.</summary>
    public IReadOnlyList<string> Keys => _keys;

    /// <summary>The file they are in, for messages.</summary>
    public string Path => _file;

    internal static GgufMetadata Parse(string file, HostStorage storage, ref GgufCursor cursor, ulong count)
    {
        GgufMetadata metadata = new(file, storage);
        for (ulong i = 0; i < count; i++)
        {
            string key = cursor.String($"the key of metadata {i + 1} of {count}", LongestKey);
            string what = CheckpointException.Quote(key);   // once for all of a value's parts, of which there may be as many as bytes
            Value value = Walk(ref cursor, TypeOf(ref cursor, what), what, depth: 0);
            if (!metadata._values.TryAdd(key, value))
                throw cursor.Refuse($"the key {what} appears twice");
            metadata._keys.Add(key);
        }
        return metadata;
    }

    private static GgufType TypeOf(ref GgufCursor cursor, string what)
    {
        uint type = cursor.U32(what);
        return type <= (uint)GgufType.F64 ? (GgufType)type : throw cursor.Refuse($"{what} has the type {type}, which the format does not know");
    }

    /// <summary>Passes over a value that is all there.</summary>
    /// <param name="what">Its key, for messages.</param>
    private static Value Walk(ref GgufCursor cursor, GgufType type, string what, int depth)
    {
        if (type == GgufType.String)
        {
            (long at, long bytes) = cursor.Text(what);
            return new Value(type, type, at, bytes);
        }
        if (type != GgufType.Array)
        {
            long at = cursor.At;
            cursor.Skip(1, type.Size(), what);
            return new Value(type, type, at, 1);
        }
        if (depth == DeepestArray)
            throw cursor.Refuse($"{what} is nested deeper than {DeepestArray} arrays");
        GgufType element = TypeOf(ref cursor, what);
        ulong count = cursor.U64(what);
        long first = cursor.At;
        if (element.Size() > 0)
            cursor.Skip(count, element.Size(), what);
        else
            for (ulong i = 0; i < count; i++)   // each takes bytes of the file, so it ends
                Walk(ref cursor, element, what, depth + 1);
        return new Value(type, element, first, (long)count);
    }

    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>The type of a value; of an array, with <paramref name="element"/>, that of its values.</summary>
    public GgufType? TypeOf(string key, bool element = false) => _values.TryGetValue(key, out Value v) ? element ? v.Element : v.Type : null;

    /// <summary>A string.</summary>
    /// <exception cref="CheckpointException">It is missing without a default, of another type, or not UTF-8.</exception>
    public string String(string key, string? absent = null) => !Find(key, out Value v) ? absent ?? throw Missing(key)
        : v.Type == GgufType.String ? GgufCursor.Decode(_file, _storage.Pointer, v.At, v.Count, key) : throw Wrong(key, v, "a string");

    /// <summary>An integer of any size from <paramref name="min"/> to <paramref name="max"/>.</summary>
    /// <exception cref="CheckpointException">It is missing without a default, of another type, or out of range.</exception>
    public long Integer(string key, long min = 0, long max = long.MaxValue, long? absent = null)
    {
        if (!Find(key, out Value v))
            return absent ?? throw Missing(key);
        return Integer(v.Type, v.At) is { } number && number >= min && number <= max
            ? number
            : throw Wrong(key, v, $"an integer from {min} to {max}");
    }

    /// <summary>A finite number, of whatever type.</summary>
    /// <exception cref="CheckpointException">It is missing without a default, of another type, or not finite in F32.</exception>
    public float Number(string key, float? absent = null) => !Find(key, out Value v) ? absent ?? throw Missing(key)
        : Number(v.Type, v.At) is { } number && float.IsFinite(number) ? number : throw Wrong(key, v, "a finite number");

    /// <exception cref="CheckpointException">It is missing without a default, of another type, or neither 0 nor 1.</exception>
    public bool Bool(string key, bool? absent = null) => !Find(key, out Value v) ? absent ?? throw Missing(key)
        : v.Type == GgufType.Bool && _storage.Pointer[v.At] <= 1 ? _storage.Pointer[v.At] == 1 : throw Wrong(key, v, "a bool");

    /// <summary>An array of strings.</summary>
    /// <exception cref="CheckpointException">It is missing, of another type, or one is not UTF-8.</exception>
    public string[] Strings(string key)
    {
        Value v = Array(key, "strings", static t => t == GgufType.String);
        string[] strings = new string[v.Count];
        GgufCursor cursor = new(_file, _storage.Pointer, _storage.Bytes);
        cursor.Skip((ulong)v.At, 1, key);
        for (int i = 0; i < strings.Length; i++)
        {
            (long at, long bytes) = cursor.Text(key);
            strings[i] = GgufCursor.Decode(_file, _storage.Pointer, at, bytes, key);
        }
        return strings;
    }

    /// <summary>An array of numbers, of whatever type.</summary>
    /// <exception cref="CheckpointException">It is missing or of another type.</exception>
    public float[] Numbers(string key)
    {
        Value v = Array(key, "numbers", static t => t is not (GgufType.String or GgufType.Array or GgufType.Bool));
        float[] numbers = new float[v.Count];
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = Number(v.Element, v.At + (long)i * v.Element.Size())!.Value;
        return numbers;
    }

    /// <summary>An array of integers, of whatever size.</summary>
    /// <exception cref="CheckpointException">It is missing, of another type, or one is beyond 2⁶³ - 1.</exception>
    public long[] Integers(string key)
    {
        Value v = Array(key, "integers", static t => t is not (GgufType.String or GgufType.Array or GgufType.Bool or GgufType.F32 or GgufType.F64));
        long[] integers = new long[v.Count];
        for (int i = 0; i < integers.Length; i++)
            integers[i] = Integer(v.Element, v.At + (long)i * v.Element.Size()) ?? throw Wrong(key, v, "an array of integers below 2^63");
        return integers;
    }

    /// <summary>How many values an array has; 0 where it is missing.</summary>
    public long Count(string key) => _values.TryGetValue(key, out Value v) && v.Type == GgufType.Array ? v.Count : 0;

    private bool Find(string key, out Value value) => _values.TryGetValue(key, out value);

    private Value Array(string key, string of, Func<GgufType, bool> fits)
    {
        if (!Find(key, out Value v))
            throw Missing(key);
        return v.Type == GgufType.Array && v.Count <= int.MaxValue && fits(v.Element) ? v : throw Wrong(key, v, $"an array of {of}");
    }

    private ReadOnlySpan<byte> Bytes(long at, int count) => new(_storage.Pointer + at, count);

    private long? Integer(GgufType type, long at) => type switch
    {
        GgufType.U8 => Bytes(at, 1)[0],
        GgufType.I8 => (sbyte)Bytes(at, 1)[0],
        GgufType.U16 => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(at, 2)),
        GgufType.I16 => BinaryPrimitives.ReadInt16LittleEndian(Bytes(at, 2)),
        GgufType.U32 => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(at, 4)),
        GgufType.I32 => BinaryPrimitives.ReadInt32LittleEndian(Bytes(at, 4)),
        GgufType.U64 => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(at, 8)) is var large and <= long.MaxValue ? (long)large : null,
        GgufType.I64 => BinaryPrimitives.ReadInt64LittleEndian(Bytes(at, 8)),
        _ => null,
    };

    private float? Number(GgufType type, long at) => type switch
    {
        GgufType.F32 => BinaryPrimitives.ReadSingleLittleEndian(Bytes(at, 4)),
        GgufType.F64 => (float)BinaryPrimitives.ReadDoubleLittleEndian(Bytes(at, 8)),
        GgufType.U64 => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(at, 8)),
        _ => Integer(type, at),
    };

    private CheckpointException Missing(string key) => new(_file, $"{key} is missing");

    private CheckpointException Wrong(string key, in Value v, string expected)
    {
        string found = v.Type switch
        {
            GgufType.String => "a string",
            GgufType.Array => $"an array of {v.Count} {v.Element}",
            GgufType.Bool => $"a Bool of {_storage.Pointer[v.At]}",
            _ => $"{Number(v.Type, v.At)?.ToString(CultureInfo.InvariantCulture)} ({v.Type})",
        };
        return new CheckpointException(_file, $"{CheckpointException.Cut(key)} must be {expected}, not {found}");
    }
}
