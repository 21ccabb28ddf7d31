using System.Text;
using System.Text.Json;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>One of the files of a tokenizer.</summary>
/// <param name="Name">Under which it is found in a folder.</param>
/// <param name="Bytes">Its content.</param>
public sealed record TokenizerFile(string Name, byte[] Bytes)
{
    private const int MaxBytes = 64 << 20;
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Its text, without a byte order mark.</summary>
    /// <exception cref="DecoderFallbackException">It is not UTF-8.</exception>
    internal string Text => Utf8.GetString(Bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? Bytes.AsSpan(Encoding.UTF8.Preamble.Length) : Bytes);

    /// <exception cref="CheckpointException">There is no such file, or it is too large.</exception>
    internal static TokenizerFile Open(string path, string name)
    {
        FileInfo file = new(path);
        if (!file.Exists)
            throw new CheckpointException(path, "there is no such file");
        if (file.Length > MaxBytes)
            throw new CheckpointException(path, "is too large for a tokenizer");
        return new TokenizerFile(name, File.ReadAllBytes(path));
    }

    /// <summary>No key twice.</summary>
    internal static JsonDocument Json(string text) => JsonDocument.Parse(text, new JsonDocumentOptions { AllowDuplicateProperties = false });

    /// <summary>Makes one line of whatever reading a file at <paramref name="path"/> throws.</summary>
    /// <param name="what">It should be, for messages.</param>
    /// <exception cref="CheckpointException">Reading failed.</exception>
    internal static T Read<T>(string path, Func<T> read, string what = "a tokenizer")
    {
        try
        {
            return read();
        }
        catch (InvalidDataException e)
        {
            throw new CheckpointException(path, e.Message, inner: e);
        }
        catch (DecoderFallbackException e)
        {
            throw new CheckpointException(path, $"is not {what}: its bytes are not UTF-8", inner: e);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            throw new CheckpointException(path, $"is not {what}: {e.Message}", inner: e);
        }
    }
}
