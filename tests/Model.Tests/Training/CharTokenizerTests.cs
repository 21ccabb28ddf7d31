using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tokenizer;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Training;

public sealed class CharTokenizerTests : IDisposable
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
        CharTokenizer tokenizer = CharTokenizer.Train(text);
        File.WriteAllText(_folder["tokenizer.json"], tokenizer.ToJson());
        CharTokenizer read = CharTokenizer.Load(_folder["tokenizer.json"]);
        foreach (CharTokenizer t in new[] { tokenizer, read })
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
    public void IdsFollowTheCodePoints() => Assert.Equal([1, 0, 2, 3], CharTokenizer.Train("ba\uffee🙂").Encode("ba\uffee🙂"));

    [Fact]
    public void UnknownCharactersAreNamed()
    {
        CharTokenizer tokenizer = CharTokenizer.Train("abc");
        Assert.Contains("U+1F642", Assert.Throws<ArgumentException>(() => tokenizer.Encode("a🙂")).Message, StringComparison.Ordinal);
        Assert.Contains("no id 3", Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([0, 3])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([-1]));
        Assert.Throws<ArgumentException>(() => CharTokenizer.Train(""));
        Assert.Empty(tokenizer.Encode(""));
    }

    [Theory]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}""", "only character-level")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0},"merges":[]}}""", "only character-level")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"ab":0},"merges":[]}}""", "\"ab\": 0 is not one character")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"":0},"merges":[]}}""", "is not one character")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}""", "\"b\": 0 is not one character with an id of its own")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":1},"merges":[]}}""", "\"a\": 1 is not")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}""", "\"a\": -1 is not")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"\u0061":1},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"\ud83d":0},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0.5},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":"0"},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":[],"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":7,"vocab":{},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{}}}""", "is not a tokenizer")]
    [InlineData("""{"vocab":{}}""", "is not a tokenizer")]
    [InlineData("[]", "is not a tokenizer")]
    [InlineData("", "is not a tokenizer")]
    public void OtherTokenizersAreRefused(string json, string rule)
    {
        File.WriteAllText(_folder["tokenizer.json"], json);
        CheckpointException refusal = TemporaryFolder.AssertRefused(rule, () => CharTokenizer.Load(_folder["tokenizer.json"]));
        Assert.Contains("tokenizer.json", refusal.Message, StringComparison.Ordinal);
    }
}
