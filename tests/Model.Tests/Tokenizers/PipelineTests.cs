using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Tests.Tokenizers;

/// <summary>The parts of a tokenizer.json one by one, on vocabularies small enough to follow by hand.</summary>
public sealed class PipelineTests
{
    /// <summary>a to e are 0 to 4, the space 5, ab 6, abc 7, bc 8; the merge of b and c comes before that of a and b.</summary>
    private const string Model = """{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"d":3,"e":4," ":5,"ab":6,"abc":7,"bc":8},"merges":["b c","a b",["a","bc"]]}""";

    [Theory]
    [InlineData("abc", "7")]
    [InlineData("ab", "6")]
    [InlineData("abab bcd", "6 6 5 8 3")]
    [InlineData("aabcc", "0 7 2")]
    [InlineData("", "")]
    public void MergesGoByRank(string text, string ids) => AssertIds(Make(Model), text, ids);

    /// <summary>aaaa… merges from the left, by the same rank everywhere; also in a word too long to be remembered.</summary>
    [Fact]
    public void LongWordsMergeFromTheLeft()
    {
        Tokenizer tokenizer = Make("""{"type":"BPE","vocab":{"a":0,"aa":1,"aaaa":2},"merges":["a a","aa aa"]}""");
        AssertIds(tokenizer, "aaa", "1 0");
        AssertIds(tokenizer, "aaaaaaa", "2 1 0");
        Assert.Equal([.. Enumerable.Repeat(2, 50_000), 1, 0], tokenizer.Encode(new string('a', 200_003)));
    }

    /// <summary>Whole words that are tokens stay whole, though no merge leads to them.</summary>
    [Fact]
    public void MergesCanBeIgnored()
    {
        const string open = """{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[]""";
        AssertIds(Make(open + "}"), "ab", "0 1");
        AssertIds(Make(open + ""","ignore_merges":true}"""), "ab", "2");
    }

    [Theory]
    [InlineData(false, "1 0 0 1")]
    [InlineData(true, "1 0 1")]
    public void UnknownCharactersFuse(bool fuse, string ids) =>
        AssertIds(Make($$"""{"type":"BPE","vocab":{"?":0,"a":1},"merges":[],"unk_token":"?","fuse_unk":{{(fuse ? "true" : "false")}}}"""), "axya", ids);

    [Theory]
    [InlineData("""{"id":9,"content":"<s>","special":true}""", "a<s> b", "0 9 5 1")]
    [InlineData("""{"id":9,"content":"<s>","rstrip":true}""", "a <s>  b", "0 5 9 1")]
    [InlineData("""{"id":9,"content":"<s>","lstrip":true}""", "a \n<s> b", "0 9 5 1")]
    [InlineData("""{"id":9,"content":"de","single_word":true}""", "de ade de", "9 5 0 3 4 5 9")]
    [InlineData("""{"id":9,"content":"dd"},{"id":10,"content":"ddd"}""", "dddd ddd dd", "10 3 5 10 5 9")]
    [InlineData("""{"id":9,"content":"<s>"},{"id":10,"content":"<s>a"}""", "<s>a<s>b", "10 9 1")]
    [InlineData("""{"id":7,"content":"abc"}""", "abcd", "7 3")]
    public void AddedTokensComeFirst(string tokens, string text, string ids) => AssertIds(Make(Model, $""","added_tokens":[{tokens}]"""), text, ids);

    /// <summary>A normalized token is sought after the normalizer has run, on it and on the text.</summary>
    [Fact]
    public void NormalizedTokensAreSoughtInNormalizedText()
    {
        const string rest = ""","normalizer":{"type":"Replace","pattern":{"String":"x"},"content":"b"},"added_tokens":[{"id":9,"content":"xd","normalized":""";
        AssertIds(Make(Model, rest + "true}]"), "abd", "0 9");
        AssertIds(Make(Model, rest + "false}]"), "abd axd", "6 3 5 0 9");
    }

    [Fact]
    public void TemplatesAreOptional()
    {
        Tokenizer tokenizer = Make(Model, """
            ,"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing",
            "single":[{"SpecialToken":{"id":"d","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}}],
            "special_tokens":{"d":{"id":"d","ids":[3],"tokens":["d"]},"e":{"id":"e","ids":[4],"tokens":["e"]}}}]}
            """);
        AssertIds(tokenizer, "abc", "3 7 4");
        Assert.Equal([7], tokenizer.Encode("abc", addSpecialTokens: false));
    }

    [Theory]
    [InlineData("""{"type":"Fuse"}""", " ab d")]
    [InlineData("null", "  ab   d")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}""", "ab d")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":"d","start":2,"stop":2}]}""", " ab ")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Strip","content":" ","start":1,"stop":0},{"type":"Fuse"}]}""", "abd")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"ab"},"content":"x"},{"type":"Fuse"}]}""", " x d")]
    public void DecodersTurnTokensIntoText(string decoder, string text)
    {
        Tokenizer tokenizer = Make(Model, $""","decoder":{decoder}""");
        Assert.Equal(text, tokenizer.Decode([5, 6, 5, 3]));
        StreamingDecoder stream = new(tokenizer);
        Assert.Equal(text, string.Concat(new[] { 5, 6, 5, 3 }.Select(stream.Append)) + stream.End());
    }

    /// <summary>A character comes with its last byte; one that is never finished comes as U+FFFD.</summary>
    [Fact]
    public void BytesWaitForTheirCharacter()
    {
        Tokenizer tokenizer = BpeTrainer.Train([], 256);
        StreamingDecoder decoder = new(tokenizer);
        Assert.Equal(["a", "", "", "", "🙂", ""], tokenizer.Encode("a🙂é").Take(6).Select(decoder.Append));
        Assert.Equal("\uFFFD", decoder.End());
        decoder = new(tokenizer);
        int[] smile = tokenizer.Encode("🙂");
        Assert.Equal(["", "", "\uFFFDb"], new[] { smile[0], smile[1], tokenizer.Encode("b")[0] }.Select(decoder.Append));
        Assert.Equal("", decoder.End());
    }

    /// <summary>Letters, digits and emoji beyond 16 bits are letters, digits and signs.</summary>
    [Theory]
    [InlineData(@"\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}]", "a𐐀𠮷b𝟏𝟐𝟑🙂!", "a𐐀𠮷b|𝟏𝟐|𝟑|🙂|!")]
    [InlineData(@".", "🙂a\n𝛑", "🙂|a|\n|𝛑")]
    [InlineData(@"(?i:'s)|\s+", "it'S  a", "it|'S|  |a")]
    [InlineData(@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "I'LL say 𐐀x=12345!\n\n  ok", "I|'LL| say| 𐐀x|=|123|45|!\n\n| | ok")]
    public void PatternsSeeCharacters(string pattern, string text, string words) =>
        Assert.Equal(words.Split('|'), WordPattern.Parse(pattern).Cut(text).Select(static part => part.Text));

    private static Tokenizer Make(string model, string rest = "") => Tokenizer.Parse($$"""{"model":{{model}}{{rest}}}""");

    private static void AssertIds(Tokenizer tokenizer, string text, string ids) => Assert.Equal(ids, string.Join(' ', tokenizer.Encode(text)));
}
