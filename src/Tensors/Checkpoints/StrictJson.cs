using System.Text.Json;
using System.Text.Unicode;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// Reads JSON token by token and takes only what the caller asks for: no duplicate keys, no surprises in type, no
/// nesting beyond a given depth. Everything else is a <see cref="CheckpointException"/> naming the file.
/// </summary>
internal ref struct StrictJson
{
    private readonly string _file;
    private readonly ReadOnlySpan<byte> _text;
    private Utf8JsonReader _json;

    public StrictJson(string file, ReadOnlySpan<byte> text, int maxDepth)
    {
        _file = file;
        _text = text;
        if (!Utf8.IsValid(text))
            throw Refuse("the JSON is not valid UTF-8");
        _json = new Utf8JsonReader(text, new JsonReaderOptions { MaxDepth = maxDepth });
    }

    /// <summary>The tensor being described, for messages.</summary>
    public string? Tensor { get; set; }

    /// <summary>Enters an object.</summary>
    public void Object(string what) => Expect(JsonTokenType.StartObject, what, "an object");

    /// <summary>The next key of the object; false when the object ends.</summary>
    /// <param name="seen">The object's keys so far.</param>
    public bool Key(HashSet<string> seen, out string key)
    {
        Next();
        key = _json.TokenType == JsonTokenType.PropertyName ? Text() : "";
        if (_json.TokenType == JsonTokenType.EndObject)
            return false;
        return seen.Add(key) ? true : throw Refuse($"the key {CheckpointException.Quote(key)} appears twice");
    }

    public string String(string what)
    {
        Expect(JsonTokenType.String, what, "a string");
        return Text();
    }

    /// <summary>An array of integers from 0 to 2⁶³ - 1.</summary>
    public List<long> Counts(string what)
    {
        Expect(JsonTokenType.StartArray, what, "an array");
        var counts = new List<long>();
        for (Next(); _json.TokenType != JsonTokenType.EndArray; Next())
        {
            bool isCount = _json.TokenType == JsonTokenType.Number && _json.ValueSpan[0] != '-' && _json.TryGetInt64(out long count);
            counts.Add(isCount ? _json.GetInt64() : throw Refuse($"{what} holds something that is not an integer from 0 to 2^63 - 1"));
        }
        return counts;
    }

    /// <summary>Passes over a value of any type, still holding it to JSON's grammar and the depth.</summary>
    public void Skip()
    {
        Next();
        int depth = _json.CurrentDepth;
        if (_json.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            do
                Next();
            while (_json.CurrentDepth > depth);
    }

    /// <summary>After the outermost object: only the bytes in <paramref name="padding"/> may follow.</summary>
    public readonly void End(ReadOnlySpan<byte> padding)
    {
        if (_text[(int)_json.BytesConsumed..].ContainsAnyExcept(padding))
            throw Refuse("something other than padding follows the JSON object");
    }

    public readonly CheckpointException Refuse(string rule, Exception? inner = null) => new(_file, rule, Tensor, inner);

    private void Expect(JsonTokenType type, string what, string kind)
    {
        Next();
        if (_json.TokenType != type)
            throw Refuse($"{what} is not {kind}");
    }

    private void Next()
    {
        try
        {
            if (!_json.Read())
                throw Refuse("the JSON ends early");
        }
        catch (JsonException e)
        {
            throw Refuse($"the JSON cannot be read: {e.Message}", e);
        }
    }

    private readonly string Text()
    {
        try
        {
            return _json.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw Refuse("a JSON string holds half a surrogate pair", e);
        }
    }
}
