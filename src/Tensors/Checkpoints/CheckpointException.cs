using System.Globalization;
using System.Text;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>
/// A file that breaks a rule of its format. The message is one line, "file: tensor 'name': rule", whatever the file put into its names.
/// </summary>
public sealed class CheckpointException : Exception
{
    private const int LongestQuote = 200;

    /// <param name="file">The file, as the caller named it.</param>
    /// <param name="rule">What the format demands and the file violates.</param>
    /// <param name="tensor">The tensor it is about, if it is about one.</param>
    /// <param name="inner">The cause, where there is one underneath.</param>
    public CheckpointException(string file, string rule, string? tensor = null, Exception? inner = null)
        : base(OneLine(tensor is null ? $"{file}: {rule}" : $"{file}: tensor {Quote(tensor)}: {rule}"), inner) =>
        (File, Tensor) = (file, tensor);

    public string File { get; }

    public string? Tensor { get; }

    /// <summary>Text that came out of a file, in quotes and not longer than a reader wants to see.</summary>
    internal static string Quote(string text) => $"'{Cut(text)}'";

    internal static string Cut(string text) => text.Length <= LongestQuote ? text : $"{text.AsSpan(0, LongestQuote)}…";

    /// <summary>Escapes what would break the line or turn the terminal around.</summary>
    private static string OneLine(string text)
    {
        var line = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            bool plain = char.GetUnicodeCategory(c) is not (UnicodeCategory.Control or UnicodeCategory.Format
                or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
            if (plain)
                line.Append(c);
            else
                line.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:X4}");
        }
        return line.ToString();
    }
}
