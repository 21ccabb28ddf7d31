using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Tests.Tokenizers;

public sealed class CharacterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Letters, newlines, control characters, JSON's own signs, combining marks, characters beyond 16 bits.</summary>
    [Theory]
    [InlineData("hello world")]
    [InlineData("a\nb\r\n\tc\0d\u0001\u001f\u007f\u0085\u2028\u2029")]
    [InlineData("\"\\/{}[]:,<>&'+\u00a0\ufeff")]
    [InlineData("𝛑≈3 🙂🙃 𠮷野家 e\u0301 é")]
    public void TextComesBack(string text)
    {
        Tokenizer tokenizer = Tokenizer.TrainCharacters(text);
        tokenizer.Save(_folder["tokenizer.json"]);
        Tokenizer read = Tokenizer.Load(_folder["tokenizer.json"]);
        foreach (Tokenizer t in new[] { tokenizer, read })
        {
            int[] ids = t.Encode(text);
            Assert.Equal(text, t.Decode(ids));
            Assert.Equal(text.EnumerateRunes().Count(), ids.Length);
            Assert.Equal(text.EnumerateRunes().Distinct().Count(), t.VocabSize);
            Assert.Equal(ids.Distinct().Order(), Enumerable.Range(0, t.VocabSize));
        }
        Assert.Equal(tokenizer.Encode(text), read.Encode(text));
        Assert.Equal(tokenizer.ToJson(), read.ToJson());
    }

    [Fact]
    public void IdsFollowTheCodePoints() => Assert.Equal([1, 0, 2, 3], Tokenizer.TrainCharacters("ba\uffee🙂").Encode("ba\uffee🙂"));

    [Fact]
    public void UnknownCharactersAreNamed()
    {
        Tokenizer tokenizer = Tokenizer.TrainCharacters("abc");
        Assert.Contains("U+1F642", Assert.Throws<ArgumentException>(() => tokenizer.Encode("a🙂")).Message, StringComparison.Ordinal);
        Assert.Contains("no id 3", Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([0, 3])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([-1]));
        Assert.Throws<ArgumentException>(() => Tokenizer.TrainCharacters(""));
        Assert.Empty(tokenizer.Encode(""));
    }
}
