using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Gguf;
using MoeFromScratch.Model.Tests.Tokenizers;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Gguf;

/// <summary>Tokenizers written as GGUF metadata and read back give every text the ids that they gave it before.</summary>
public sealed class GgufTokenizerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Real => [Vocabularies.Gpt2, Vocabularies.Pythia, Vocabularies.Olmo, Vocabularies.Dolma2, Vocabularies.MistralV1, Vocabularies.MistralV3];

    [SkippableTheory]
    [MemberData(nameof(Real))]
    public void RealOnesGiveTheSameIds(string vocabulary)
    {
        Tokenizer original = Vocabularies.Load(vocabulary), read = Through(original);
        Assert.Equal(47, Vocabularies.Golden("gpt-2").Texts.Length);
        foreach (string text in Vocabularies.Golden("gpt-2").Texts.Concat(UnicodeTexts.Fixed).Concat(UnicodeTexts.Random(seed: 3, count: 100)))
        {
            Assert.Equal(original.Encode(text), read.Encode(text));
            Assert.Equal(original.Decode(original.Encode(text)), read.Decode(read.Encode(text)));
        }
    }

    /// <summary>A tokenizer.json with byte fallback becomes pieces with scores: llama.cpp's own ids, for all of its texts.</summary>
    [SkippableFact]
    public void MergesBecomeScores()
    {
        Tokenizer phi = Vocabularies.Load(Vocabularies.Phi3);
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => Through(phi));
        Assert.Contains("has the added token '</s>' with rstrip; leave it out with --no-tokenizer", refusal.Message, StringComparison.Ordinal);
        JsonNode json = JsonNode.Parse(phi.ToJson())!;
        foreach (JsonNode? token in json["added_tokens"]!.AsArray())
            token!["rstrip"] = false;
        Tokenizer read = Through(Tokenizer.Parse(json.ToJsonString()));
        (string[] texts, int[][] ids) = Vocabularies.Golden("phi-3");
        foreach ((string text, int[] expected) in texts.Zip(ids))
            Assert.Equal(expected, read.Encode(text));
    }

    [Theory]
    [InlineData("tokenizer.ggml.model", "bert", "tokenizer.ggml.model 'bert' is not supported; supported are gpt2, llama and no_vocab")]
    [InlineData("tokenizer.ggml.pre", "default", "tokenizer.ggml.pre 'default' is not supported; supported are gpt-2, olmo")]
    public void UnknownKindsAreRefusedByName(string key, string value, string rule)
    {
        GgufMetadataBuilder metadata = new();
        metadata.Add("tokenizer.ggml.model", key.EndsWith("model", StringComparison.Ordinal) ? value : "gpt2");
        if (key.EndsWith("pre", StringComparison.Ordinal))
            metadata.Add(key, value);
        Assert.Contains(rule, Assert.Throws<CheckpointException>(() => GgufTokenizer.Read(metadata.Read("m.gguf"))).Message, StringComparison.Ordinal);
    }

    /// <summary>What a name stands for beside its words: whether digits part, whether a word that is a token is it, the form NFC, the token for the beginning.</summary>
    [Theory]
    [InlineData("gpt-2", "12 ab", new[] { 2, 3, 7 })]
    [InlineData("starcoder", "12 ab", new[] { 0, 1, 3, 7 })]
    [InlineData("gpt-2", "abc", new[] { 7, 6 })]
    [InlineData("dbrx", "abc", new[] { 7, 6 })]
    [InlineData("llama-bpe", "abc", new[] { 14, 8 })]
    [InlineData("stablelm2", "e\u0301", new[] { 9, 12, 13 })]
    [InlineData("qwen2", "e\u0301", new[] { 10, 11 })]
    [InlineData("qwen2", "12", new[] { 0, 1 })]
    [InlineData("gpt-2", "a<x>", new[] { 4, 15 })]
    public void NamesStandForMoreThanWords(string name, string text, int[] ids)
    {
        string[] tokens = ["1", "2", "12", "Ġ", "a", "b", "c", "ab", "abc", "e", "Ã", "©", "Ì", "ģ", "<s>", "<x>"];
        GgufMetadataBuilder metadata = new GgufMetadataBuilder().Add("tokenizer.ggml.model", "gpt2").Add("tokenizer.ggml.pre", name).Add("tokenizer.ggml.tokens", tokens)
            .Add("tokenizer.ggml.token_type", (int[])[.. tokens.Select(static t => t == "<s>" ? 3 : t == "<x>" ? 4 : 1)]).Add("tokenizer.ggml.merges", ["1 2", "a b"])
            .Add("tokenizer.ggml.bos_token_id", 14u);
        Tokenizer read = GgufTokenizer.Read(metadata.Read("m.gguf"))!;
        Assert.Equal(ids, read.Encode(text));
        Assert.Equal(ids, Through(read).Encode(text));
    }

    /// <summary>A space before a text is only there if the file says so, and pieces that are no token's bytes become bytes.</summary>
    [Theory]
    [InlineData(true, new[] { 1, 259, 262, 3 + 'z', 260 })]
    [InlineData(false, new[] { 1, 262, 3 + 'z', 260 })]
    public void PiecesKeepTheirSpaceAndTheirBytes(bool prefix, int[] ids)
    {
        byte[] model = new SentencePieceWriter().Usual().AllBytes().Piece("\u2581", -5).Piece("a", -4).Piece("b", -3).Piece("ab", -1).Trainer(byteFallback: true).Normalizer(prefix: prefix).Bytes;
        File.WriteAllBytes(_folder["tokenizer.model"], model);
        Tokenizer original = Tokenizer.Load(_folder["tokenizer.model"]), read = Through(original);
        Assert.Equal(ids, original.Encode("abza"));
        Assert.Equal(ids, read.Encode("abza"));
        Assert.Equal(original.Encode("a <s>ba\u00e4"), read.Encode("a <s>ba\u00e4"));
        Assert.Equal("abza", read.Decode(read.Encode("abza", addSpecialTokens: false)));
    }

    /// <summary>A special token is of the kind 3, an added one of the kind 4, room in the model's vocabulary 5, on bytes and on pieces.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AddedTokensKeepTheirKinds(bool pieces)
    {
        string[] bytes = [.. Enumerable.Range(0, 256).Select(static b => $"<0x{b:X2}>")];
        string[] vocab = pieces ? ["<unk>", .. bytes, "a"] : ["a"];
        JsonObject json = new()
        {
            ["added_tokens"] = new JsonArray(TokenizerJson.Added(vocab.Length, "<s>", special: true), TokenizerJson.Added(vocab.Length + 1, "<x>", special: false)),
            ["normalizer"] = pieces ? JsonNode.Parse("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""") : null,
            ["pre_tokenizer"] = pieces ? null : TokenizerJson.Level(cuts: true),
            ["decoder"] = pieces ? JsonNode.Parse("""{"type":"ByteFallback"}""") : TokenizerJson.Level(cuts: true),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["byte_fallback"] = pieces,
                ["unk_token"] = pieces ? "<unk>" : null,
                ["vocab"] = new JsonObject(vocab.Select(static (t, i) => KeyValuePair.Create(t, (JsonNode?)i))),
                ["merges"] = new JsonArray(),
            },
        };
        GgufMetadataBuilder metadata = new();
        GgufTokenizer.Write(metadata, Tokenizer.Parse(json.ToJsonString()), vocab.Length + 3, [2]);
        long[] kinds = metadata.Read("m.gguf").Integers("tokenizer.ggml.token_type");
        Assert.Equal([1, 3, 4, 5], kinds[^4..]);
        if (pieces)
            Assert.Equal([2, 6, 6], kinds[..3]);
    }

    [Fact]
    public void CharactersHaveNoPlaceInAFile()
    {
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => Through(Tokenizer.TrainCharacters("abc")));
        Assert.Contains("is neither a byte-level BPE nor one with tokens for bytes", refusal.Message, StringComparison.Ordinal);
    }

    private static Tokenizer Through(Tokenizer tokenizer)
    {
        int[] eos = [2];
        GgufMetadataBuilder metadata = new();
        int? bos = GgufTokenizer.Write(metadata, tokenizer, tokenizer.VocabSize + 3, eos);   // models have room for more
        GgufConfig.WriteEnds(metadata, bos, eos);
        return GgufTokenizer.Read(metadata.Read("m.gguf"))!;
    }
}
