using System.Text.Json.Nodes;
using MoeFromScratch.Model.Gguf;
using MoeFromScratch.Model.Tests.Tokenizers;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Gguf;

/// <summary>Tokenizers written as GGUF metadata and read back give every text the ids that they gave it before.</summary>
public sealed class GgufTokenizerTests
{
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
