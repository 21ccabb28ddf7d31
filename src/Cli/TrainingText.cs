using System.Text;

namespace MoeFromScratch.Cli;

/// <summary>What <c>--data</c> names, as one text.</summary>
internal static class TrainingText
{
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The files one after the other, as given. A file is a document: where another follows, <paramref name="separator"/> ends it if it does not end in one.</summary>
    /// <exception cref="ArgumentException">A file is empty or not UTF-8.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static string Read(IReadOnlyList<string> paths, string separator)
    {
        StringBuilder all = new();
        foreach (string path in paths)
        {
            if (all.Length > 0 && !EndsWith(all, separator))
                all.Append(separator);
            all.Append(ReadOne(path));
        }
        return all.ToString();
    }

    private static bool EndsWith(StringBuilder text, string end) =>
        text.Length >= end.Length && text.ToString(text.Length - end.Length, end.Length) == end;

    private static string ReadOne(string path)
    {
        try
        {
            string text = File.ReadAllText(path, Utf8);
            return text.Length > 0 ? text : throw new ArgumentException($"{path} is empty");
        }
        catch (DecoderFallbackException e)
        {
            throw new ArgumentException($"{path} is not UTF-8 text", e);
        }
    }
}
