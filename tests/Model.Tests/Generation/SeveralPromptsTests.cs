using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Generation;

/// <summary>Prompts that are continued together get what each gets alone.</summary>
public sealed class SeveralPromptsTests
{
    private static readonly int[][] Prompts = [[0, 1, 2, 3, 4], [5], [6, 7, 8], [5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]];

    [Theory]
    [InlineData("dynamic-moe", 0, 20, false)]
    [InlineData("dynamic-moe", 1, 20, true)]
    [InlineData("mixtral", 1, 20, false)]
    [InlineData("mixtral", 1, 100, false)]      // beyond the context
    public void EachIsContinuedAsAlone(string family, float temperature, int count, bool noCache)
    {
        using IBackend backend = CpuBackend.Create(2);
        using LanguageModel model = Texts.Model(backend, family);
        GenerateOptions options = new() { MaxNewTokens = count, NoCache = noCache, Sampler = new SamplerOptions(temperature, Seed: 7) };
        ILookup<int, GeneratedToken?> together = TextGeneration.Generate(model, Prompts, options).ToLookup(static t => t.Prompt, static t => t.Token);
        foreach ((int i, int[] prompt) in Prompts.Index())
        {
            GeneratedToken[] alone = [.. TextGeneration.Generate(model, prompt, options with { Sampler = options.Sampler with { Seed = 7 + (ulong)i } })];
            Assert.Equal(count, alone.Length);
            Assert.Equal(alone.Select(static t => t.Id), together[i].SkipLast(1).Select(static t => t!.Value.Id));
            Assert.Equal(alone.Select(static t => t.Experts), together[i].SkipLast(1).Select(static t => t!.Value.Experts));
            Assert.Null(together[i].Last());
        }
        if (temperature > 0)
            Assert.NotEqual(together[1].Select(static t => t?.Id), together[3].Select(static t => t?.Id));
    }

    [Fact]
    public void EachStopsByItself()
    {
        using IBackend backend = CpuBackend.Create(1);
        using LanguageModel model = Texts.Model(backend, "dynamic-moe");
        GenerateOptions options = new() { MaxNewTokens = 30, Sampler = new SamplerOptions(1, Seed: 3) };
        string[] whole = Together(options);
        Assert.All(whole, static text => Assert.Equal(30, text.Length));
        string stop = whole[2][10..12];
        string[] cut = Together(options with { Stop = [stop] });
        Assert.Equal(whole.Select(t => t.IndexOf(stop, StringComparison.Ordinal) is >= 0 and var at ? t[..at] : t), cut);
        Assert.Contains(cut, static text => text.Length == 30);

        string[] none = Together(options with { MaxNewTokens = 0 });
        Assert.All(none, static text => Assert.Equal("", text));

        string[] Together(GenerateOptions o)
        {
            string[] texts = new string[Prompts.Length];
            bool[] ended = new bool[Prompts.Length];
            foreach ((int prompt, TextPiece piece) in TextGeneration.Stream(model, Prompts, o))
            {
                Assert.False(ended[prompt]);
                texts[prompt] += piece.Text;
                ended[prompt] = piece.Token is null;
            }
            Assert.All(ended, Assert.True);
            return texts;
        }
    }

    [Fact]
    public void ABadPromptIsRefusedBeforeAnyText()
    {
        using IBackend backend = CpuBackend.Create(1);
        using LanguageModel model = Texts.Model(backend, "dynamic-moe");
        Assert.Throws<ArgumentException>(() => TextGeneration.Generate(model, [[1], []], new GenerateOptions()));
        Assert.Throws<ArgumentException>(() => TextGeneration.Generate(model, [[1], [.. Enumerable.Repeat(1, 65)]], new GenerateOptions()));
        Assert.Empty(TextGeneration.Generate(model, Array.Empty<int[]>(), new GenerateOptions()));
    }

    /// <summary>A model's vocabulary is often padded beyond its tokenizer's: such ids are no text, and no error.</summary>
    [Fact]
    public void IdsBeyondTheTokenizerAreNoText()
    {
        using IBackend backend = CpuBackend.Create(1);
        using LanguageModel small = Texts.Model(backend, "dynamic-moe");
        using LanguageModel padded = LanguageModel.Create(backend, small.Family, small.Config with { VocabSize = 3 * small.Config.VocabSize }, seed: 2, small.Tokenizer);
        int beyond = small.Config.VocabSize + 1;
        GenerateOptions options = new() { MaxNewTokens = 40, Sampler = new SamplerOptions(1, Seed: 3) };
        List<TextPiece> pieces = [.. TextGeneration.Stream(padded, [beyond, 1], options)];
        List<int> ids = [.. pieces.Where(static p => p.Token is not null).Select(static p => p.Token!.Value.Id)];
        Assert.Equal(40, ids.Count);
        Assert.Contains(ids, id => id >= beyond);
        int[] known = [.. ids.Where(small.Tokenizer!.Contains)];
        Assert.NotEmpty(known);
        Assert.Equal(small.Tokenizer.Decode(known), string.Concat(pieces.Select(static p => p.Text)));
        Assert.Throws<ArgumentException>(() => TextGeneration.Stream(padded, [1000], options).Count());
    }
}
