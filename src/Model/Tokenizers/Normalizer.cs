using System.Text.Json;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>The "normalizer" of a tokenizer.json: what happens to a text before it is cut into words.</summary>
internal static class Normalizer
{
    /// <exception cref="InvalidDataException">A type other than NFC, Prepend, Replace of a string, or a Sequence of these.</exception>
    public static Func<string, string> Read(JsonElement? normalizer)
    {
        if (normalizer is not { } json)
            return static text => text;
        switch (json.Text("type"))
        {
            case "NFC":
                return Nfc.Normalize;
            case "Prepend":
                string prefix = json.Text("prepend");
                return text => text.Length == 0 ? text : prefix + text;
            case "Replace":
                return ReadReplace("normalizer", json);
            case "Sequence":
                Func<string, string>[] all = [.. json.GetProperty("normalizers").EnumerateArray().Select(static n => Read(n))];
                return text => all.Aggregate(text, static (t, normalize) => normalize(t));
            default:
                throw JsonReading.Unsupported("normalizer", json);
        }
    }

    /// <summary>Replace of a string; the decoder has the same.</summary>
    public static Func<string, string> ReadReplace(string part, JsonElement json)
    {
        JsonElement pattern = json.GetProperty("pattern");
        if (!pattern.TryGetProperty("String", out JsonElement text) || text.GetString() is not { Length: > 0 } from)
            throw new InvalidDataException($"a {part} of the type 'Replace' with the pattern {pattern.GetRawText()} is not supported");
        string to = json.Text("content");
        return input => input.Replace(from, to, StringComparison.Ordinal);
    }
}
