using System.Globalization;
using System.Text;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// Unicode normalization form C (UAX #15): decompose canonically, order the combining marks, compose.
/// <see cref="string.Normalize()"/> returns its input under InvariantGlobalization, which this project runs with.
/// </summary>
internal static class Nfc
{
    private const int FirstAffected = 0x300;   // text below is its own NFC

    // Hangul syllables are computed from leading consonant, vowel and trailing consonant (Unicode, section 3.12).
    private const int SBase = 0xAC00, LBase = 0x1100, VBase = 0x1161, TBase = 0x11A7, LCount = 19, VCount = 21, TCount = 28;

    private static readonly Dictionary<int, int[]> Decompositions = [];
    private static readonly Dictionary<(int First, int Second), int> Compositions = [];
    private static readonly Dictionary<int, byte> Classes = [];

    static Nfc()
    {
        using StreamReader table = new(typeof(Nfc).Assembly.GetManifestResourceStream("Nfc.txt")!);
        while (table.ReadLine() is { } line)
        {
            int at = line.AsSpan().IndexOfAny("=>:#");
            if (line[at] == '#')
                continue;
            if (line[at] == ':')
            {
                for (int c = Hex(line[..line.IndexOf('.')]); c <= Hex(line[(line.LastIndexOf('.') + 1)..at]); c++)
                    Classes[c] = byte.Parse(line.AsSpan(at + 1), CultureInfo.InvariantCulture);
                continue;
            }
            int composed = Hex(line[..at]);
            int[] parts = [.. line[(at + 1)..].Split('+').Select(Hex)];
            Decompositions[composed] = parts;
            if (line[at] == '=')
                Compositions[(parts[0], parts[1])] = composed;
        }
    }

    /// <summary>The text in form C; lone surrogates become U+FFFD.</summary>
    public static string Normalize(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange((char)FirstAffected, char.MaxValue))
            return text;
        List<int> points = new(text.Length);
        foreach (Rune c in text.EnumerateRunes())
            Decompose(c.Value, points);
        Order(points);
        Compose(points);
        StringBuilder composed = new(points.Count);
        foreach (int c in points)
            composed.Append(new Rune(c).ToString());
        return composed.ToString();
    }

    private static void Decompose(int c, List<int> to)
    {
        if (c - SBase is >= 0 and < LCount * VCount * TCount and int syllable)
        {
            to.Add(LBase + syllable / (VCount * TCount));
            to.Add(VBase + syllable / TCount % VCount);
            if (syllable % TCount != 0)
                to.Add(TBase + syllable % TCount);
        }
        else if (Decompositions.TryGetValue(c, out int[]? parts))
            foreach (int part in parts)
                Decompose(part, to);
        else
            to.Add(c);
    }

    /// <summary>Sorts each run of marks by class; marks of one class keep their order.</summary>
    private static void Order(List<int> points)
    {
        for (int start = 0; start < points.Count; start++)
        {
            int end = start;
            while (end < points.Count && Class(points[end]) != 0)
                end++;
            if (end - start > 1)
            {
                int[] marks = [.. points[start..end].OrderBy(static c => Class(c))];
                for (int i = 0; i < marks.Length; i++)
                    points[start + i] = marks[i];
            }
            start = end;
        }
    }

    /// <summary>Joins each character with the last starter, unless one of its own or a higher class lies between.</summary>
    private static void Compose(List<int> points)
    {
        int starter = -1, length = 0, between = 0;
        for (int i = 0; i < points.Count; i++)
        {
            int c = points[i], its = Class(c);
            bool blocked = starter != length - 1 && between >= its;
            if (starter >= 0 && !blocked && Pair(points[starter], c) is { } composed)
            {
                points[starter] = composed;
                continue;
            }
            if (its == 0)
                starter = length;
            between = its;
            points[length++] = c;
        }
        points.RemoveRange(length, points.Count - length);
    }

    private static int? Pair(int first, int second)
    {
        if (first - LBase is >= 0 and < LCount and int l && second - VBase is >= 0 and < VCount and int v)
            return SBase + (l * VCount + v) * TCount;
        if (first - SBase is >= 0 and < LCount * VCount * TCount and int s && s % TCount == 0 && second - TBase is > 0 and < TCount and int t)
            return first + t;
        return Compositions.TryGetValue((first, second), out int composed) ? composed : null;
    }

    private static int Class(int c) => Classes.GetValueOrDefault(c);

    private static int Hex(string digits) => int.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
