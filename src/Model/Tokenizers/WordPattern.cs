using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// A regular expression of a tokenizer.json, which is written for an engine that matches characters. .NET's matches UTF-16
/// units, so that no letter beyond U+FFFF is in \p{L}: such a character is matched as another one of its category.
/// </summary>
internal sealed partial class WordPattern
{
    /// <summary>The last character up to U+FFFF of each category: one that no pattern names.</summary>
    private static readonly Dictionary<UnicodeCategory, char> StandIns = Enumerable.Range(0x80, 0xFFFF - 0x80)
        .GroupBy(static c => char.GetUnicodeCategory((char)c)).ToDictionary(static g => g.Key, static g => (char)g.Last());

    private readonly Regex _regex;

    private WordPattern(Regex regex) => _regex = regex;

    /// <summary>GPT-2's words: endings after an apostrophe, letters, digits or signs with a space before them, white space.</summary>
    public static WordPattern Gpt2 { get; } = new(Gpt2Regex());

    /// <exception cref="InvalidDataException">The pattern is not valid, or means something else in .NET.</exception>
    public static WordPattern Parse(string pattern)
    {
        RegexDialect.Check(pattern);
        try
        {
            return new WordPattern(new Regex(pattern, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(10)));
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"the pattern {pattern} is not valid: {e.Message}", e);
        }
    }

    /// <summary>The parts of a text in their order, none of them empty, and whether they match.</summary>
    /// <exception cref="ArgumentException">Matching takes longer than a sound pattern does.</exception>
    public List<(string Text, bool Matches)> Cut(string text)
    {
        (string shadow, int[]? starts) = Shadow(text);
        List<(string, bool)> parts = [];
        int end = 0;
        try
        {
            foreach (ValueMatch match in _regex.EnumerateMatches(shadow))
            {
                Add(end, match.Index, matches: false);
                Add(match.Index, match.Index + match.Length, matches: true);
                end = match.Index + match.Length;
            }
        }
        catch (RegexMatchTimeoutException e)
        {
            throw new ArgumentException($"the tokenizer's pattern {_regex} takes too long on this text", e);
        }
        Add(end, shadow.Length, matches: false);
        return parts;

        void Add(int from, int to, bool matches)
        {
            if (to > from)
                parts.Add((starts is null ? text[from..to] : text[starts[from]..starts[to]], matches));
        }
    }

    /// <summary>The text with one UTF-16 unit for each character, and where each begins in the original.</summary>
    private static (string Shadow, int[]? Starts) Shadow(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
            return (text, null);
        StringBuilder shadow = new(text.Length);
        List<int> starts = new(text.Length + 1);
        int at = 0;
        foreach (Rune c in text.EnumerateRunes())
        {
            starts.Add(at);
            at += c.Utf16SequenceLength;
            shadow.Append(c.IsBmp ? (char)c.Value : StandIns[Rune.GetUnicodeCategory(c)]);
        }
        starts.Add(at);
        return (shadow.ToString(), [.. starts]);
    }

    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant)]
    private static partial Regex Gpt2Regex();
}
