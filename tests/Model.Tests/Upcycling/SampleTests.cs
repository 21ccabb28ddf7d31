using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>What models are compared on, and that it says what it is.</summary>
public sealed class SampleTests : IDisposable
{
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    [Fact]
    public void SaysWhatItIs()
    {
        Tokenizer bytes = BpeTrainer.Train(["a few words"], 257, []), few = Tokenizer.TrainCharacters("abc ");
        Sample own = Of(bytes, null), given = Of(bytes, "a few words"), random = Of(few, null), none = Of(null, null);
        Assert.Equal("a built-in text", own.Source);
        Assert.StartsWith("The mill", bytes.Decode(own.Ids), StringComparison.Ordinal);
        Assert.Equal(("FILE", "a few words"), (given.Source, bytes.Decode(given.Ids)));
        Assert.StartsWith("random ids, of a built-in text: the model's vocabulary has no character", random.Source, StringComparison.Ordinal);
        Assert.Equal("random ids, the model has no tokenizer", none.Source);
        Assert.Contains("--sample-text FILE: the model has no tokenizer", Assert.Throws<ArgumentException>(() => Of(null, "a few words")).Message, StringComparison.Ordinal);
        Assert.All(random.Ids, static id => Assert.InRange(id, 0, 299));
        Assert.True(random.Ids.Distinct().Count() > 200);
        Assert.Equal(random.Ids, Of(few, null).Ids);
        Assert.Contains("no character 'd'", Assert.Throws<ArgumentException>(() => Of(few, "abcd")).Message, StringComparison.Ordinal);
        Assert.Contains("a sample needs two", Assert.Throws<ArgumentException>(() => Of(few, "a")).Message, StringComparison.Ordinal);
    }

    private Sample Of(Tokenizer? tokenizer, string? text)
    {
        ModelConfig config = Tiny.Config("mixtral") with { VocabSize = 300 };
        using LanguageModel model = LanguageModel.Create(_shop.Backend, Tiny.Family("mixtral"), config, seed: 1, tokenizer);
        return Sample.Of(model, text, "FILE", seed: 2);
    }
}
