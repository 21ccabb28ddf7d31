using System.Text;

namespace MoeFromScratch.Model.Tests.Tokenizers;

internal static class UnicodeTexts
{
    public static string[] Fixed { get; } =
    [
        "", " ", "\n", "\t", "\r\n\r\n", "   \n  ", "a", " a", "👩‍👩‍👧‍👦🏳️‍🌈", "🇩🇪x🇫🇷", "e\u0301\u0323o\u0308", "𝛑𝛑 𐐀𐐨 𠮷野家", "12𝟑𝟒5", "كتاب हिन्दी 한국어 各位",
        "x\u00a0y\u3000z\u2028", "\ufeffa\0b", "it's 'tis I'LL", "a…b—c ½ ²", "          tabs\t\t\tend",
    ];

    /// <summary>Characters from all planes, many of them marks, emoji, letters beyond 16 bits and white space.</summary>
    public static IEnumerable<string> Random(int seed, int count)
    {
        Random random = new(seed);
        for (int i = 0; i < count; i++)
        {
            StringBuilder text = new();
            for (int n = random.Next(40); n > 0; n--)
                text.Append(Character(random).ToString());
            yield return text.ToString();
        }
    }

    private static Rune Character(Random random) => random.Next(10) switch
    {
        < 3 => new Rune(random.Next(' ', 0x7F)),
        3 => new Rune(" \n\t\r\u00a0"[random.Next(5)]),
        4 => new Rune(random.Next(0x300, 0x370)),
        5 => new Rune(random.Next(0x1F300, 0x1FA00)),
        6 => new Rune(random.Next(0x10400, 0x10500)),
        7 => new Rune(random.Next(0x80, 0x2000)),
        8 => new Rune(random.Next(0xE000) is var c and < 0xD800 ? c : 0x4E00),
        _ => new Rune(random.Next(0x10000, 0x110000)),
    };
}
