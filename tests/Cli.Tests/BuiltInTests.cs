using MoeFromScratch.Model;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Training.Corpus;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Tests;

/// <summary>What is said of the model that comes with the tool.</summary>
public sealed class BuiltInTests : IDisposable
{
    private static readonly string FolderPath = Path.Combine(AppContext.BaseDirectory, "built-in");
    private readonly IBackend _backend = CpuBackend.Create();
    private readonly LanguageModel _model;

    public BuiltInTests() => _model = LanguageModel.Load(FolderPath, _backend);

    public void Dispose()
    {
        _model.Dispose();
        _backend.Dispose();
    }

    [Fact]
    public void IsThePresetsModel()
    {
        Preset preset = Preset.All.Single(static p => p.Name == "built-in");
        Assert.IsType<DynamicMoe>(_model.Family);
        int end = _model.Tokenizer!.IdOf(TokenizerChoice.EndOfText)!.Value;
        ModelConfig config = preset.Model(_model.Tokenizer.VocabSize) with { BosTokenId = end, EosTokenIds = [end] };
        Assert.Equal(preset.Family.Write(config).ToJsonString(), _model.Family.Write(_model.Config).ToJsonString());
        Assert.InRange(Directory.EnumerateFiles(FolderPath).Sum(static f => new FileInfo(f).Length), 1, 8_000_000);
    }

    /// <summary>Stated are the figures of bench/RESULTS.md; a sample of each is drawn here.</summary>
    [Theory]
    [InlineData(ExerciseKind.Addition, 100, 0.9)]
    [InlineData(ExerciseKind.Counting, 20, 0.9)]
    [InlineData(ExerciseKind.Sorting, 40, 0.9)]
    [InlineData(ExerciseKind.Reversal, 40, 0.8)]
    [InlineData(ExerciseKind.Repetition, 40, 0.8)]
    public void SolvesExercisesItNeverSaw(ExerciseKind kind, int count, double share)
    {
        Exercise[] exercises = [.. Enumerable.Range(0, count).Select(i => PracticeCorpus.HeldOut(kind, 77, i))];
        string[] texts = Continue(exercises, new SamplerOptions());
        int right = exercises.Zip(texts).Count(static e => PracticeCorpus.IsRight(e.First, e.Second));
        Assert.True(right >= share * count, $"{right} of {count}");
    }

    [Fact]
    public void TellsGrammaticalStories()
    {
        Exercise[] stories = [.. Enumerable.Range(0, 20).Select(static i => PracticeCorpus.HeldOut(ExerciseKind.Story, 77, i))];
        string[] texts = Continue(stories, new SamplerOptions(Temperature: 0.8f, Seed: 5));
        Assert.True(texts.Distinct().Count() > 15, "the same story again and again");
        Assert.All(texts, static text => Assert.InRange(text.Length, 100, 1000));
        Assert.InRange(stories.Zip(texts).Average(static s => StoryGrammar.GrammaticalShare(s.First.Prompt + s.Second)), 0.97, 1);
    }

    [Fact]
    public void GenerateNeedsNoModel()
    {
        Outcome run = Tool.Run("generate", "Once upon a time", "--show-experts");
        Assert.True(run.ExitCode == 0, run.Error);
        Assert.StartsWith("Once upon a time ", run.Output, StringComparison.Ordinal);
        Assert.Contains("mean experts per token: ", run.Output, StringComparison.Ordinal);
        Assert.Equal("20+30=50", Tool.Run("generate", "20+30=", "--greedy").Output.Trim());
        Assert.NotEqual("", Tool.Run("generate", "").Output.Trim());      // from the beginning of a text
        Assert.Equal(0, Tool.Run("generate", "naïve 東京").ExitCode);      // nothing it has seen, but text
    }

    private string[] Continue(Exercise[] exercises, SamplerOptions sampler)
    {
        string[] texts = new string[exercises.Length];
        int[][] prompts = [.. exercises.Select(e => _model.Tokenizer!.Encode(e.Prompt))];
        foreach ((int prompt, TextPiece piece) in TextGeneration.Stream(_model, prompts, new GenerateOptions { Sampler = sampler }))
            texts[prompt] += piece.Text;
        return texts;
    }
}
