namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// Patterns of a tokenizer.json are written for Oniguruma. Those that .NET reads otherwise, or may read otherwise, are
/// refused rather than matched wrongly.
/// </summary>
internal static class RegexDialect
{
    private static readonly string[] Groups = ["(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"];

    /// <exception cref="InvalidDataException">A construct outside the shared part of the two dialects.</exception>
    public static void Check(string pattern)
    {
        bool inClass = false, afterQuantifier = false;
        for (int i = 0; i < pattern.Length; i++)
        {
            ReadOnlySpan<char> rest = pattern.AsSpan(i);
            char c = pattern[i];
            bool quantifier = false;
            if (char.IsSurrogate(c))
                throw Refuse(pattern, "a character beyond U+FFFF");
            if (c == '\\')
            {
                if (rest.Length < 2 || (char.IsAsciiLetterOrDigit(rest[1]) && !"srntdD".Contains(rest[1], StringComparison.Ordinal)
                    && rest[1] is not ('S' or 'p' or 'P')))
                    throw Refuse(pattern, rest[..Math.Min(2, rest.Length)]);
                i++;
                if (rest[1] is 'p' or 'P')
                {
                    // Scripts and the like have other names in .NET; the one- and two-letter categories are the same.
                    int close = rest.IndexOf('}');
                    if (rest.Length < 5 || rest[2] != '{' || close is not (4 or 5))
                        throw Refuse(pattern, rest[..Math.Min(4, rest.Length)]);
                    i += close - 1;
                }
            }
            else if (inClass)
            {
                if (c == '[' || rest.StartsWith("&&"))
                    throw Refuse(pattern, "a class inside a class");
                inClass = c != ']';
            }
            else if (c == '[')
                inClass = true;
            else if (c is '^' or '$')
                throw Refuse(pattern, "an anchor");   // lines there, the whole text here
            else if (rest.StartsWith("(?") && !StartsWithAny(rest, Groups))
                throw Refuse(pattern, rest[..Math.Min(4, rest.Length)]);
            else if (rest.StartsWith("{,"))
                throw Refuse(pattern, "{,");   // a quantifier there, plain text here
            else if (c is '*' or '+' or '?' or '}' && i > 0)
            {
                if (afterQuantifier && c == '+')
                    throw Refuse(pattern, "a possessive quantifier");
                quantifier = pattern[i - 1] != '(';
            }
            if (c == '(' && rest.StartsWith("(?"))
                i++;   // the question mark is no quantifier
            afterQuantifier = quantifier;
        }
    }

    private static bool StartsWithAny(ReadOnlySpan<char> text, string[] starts)
    {
        foreach (string start in starts)
            if (text.StartsWith(start))
                return true;
        return false;
    }

    private static InvalidDataException Refuse(string pattern, ReadOnlySpan<char> what) => new($"the pattern {pattern} has {what}, which is not supported");
}
