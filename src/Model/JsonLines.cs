using System.Text.Json;

namespace MoeFromScratch.Model;

/// <summary>Files of data with a JSON object on each line.</summary>
internal static class JsonLines
{
    /// <summary>The lines that are not blank, each with its place for messages.</summary>
    public static IEnumerable<(ReadOnlyMemory<byte> Text, string Place)> Of(string path, ReadOnlyMemory<byte> bytes)
    {
        for (int line = 1; bytes.Length > 0; line++)
        {
            int end = bytes.Span.IndexOf((byte)'\n');
            ReadOnlyMemory<byte> text = end < 0 ? bytes : bytes[..end];
            bytes = end < 0 ? default : bytes[(end + 1)..];
            if (text.Span.IndexOfAnyExcept(" \t\r"u8) >= 0)
                yield return (text, $"{path}, line {line}");
        }
    }

    /// <summary>A file's bytes without the mark that says UTF-8.</summary>
    public static ReadOnlyMemory<byte> WithoutMark(ReadOnlyMemory<byte> bytes) =>
        bytes.Span.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]) ? bytes[3..] : bytes;

    /// <exception cref="JsonException">It is not valid JSON, or has a key twice.</exception>
    public static JsonElement Parse(ReadOnlyMemory<byte> text)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text, new JsonDocumentOptions { AllowDuplicateProperties = false });
            return document.RootElement.Clone();
        }
        catch (InvalidOperationException e)
        {
            throw new JsonException("A key is no text", e);
        }
    }

    /// <summary>Where in its line it is not valid; a key that is there twice has no place, but a name.</summary>
    public static string Where(JsonException e) => e.BytePositionInLine is { } at ? $" at byte {at}" : $": {(e.Message.Length > 200 ? e.Message[..200] + "…" : e.Message.TrimEnd('.'))}";
}
