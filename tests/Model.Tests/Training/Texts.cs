using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Training;

/// <summary>A text that a tiny model learns in a minute's fraction, and how.</summary>
public static class Texts
{
    public static string Repetitive { get; } = string.Concat(Enumerable.Repeat("the cat sat on the mat; ", 40));

    public static TrainOptions Options(int context) => new()
    {
        Steps = 60,
        BatchSize = 2,
        Context = context,
        LearningRate = new LrSchedule(LrDecay.Constant, Peak: 1e-2f, WarmupSteps: 3, TotalSteps: 60),
        Seed = 11,
    };

    /// <summary>A model with the text's vocabulary.</summary>
    public static LanguageModel Model(IBackend backend, string family)
    {
        Tokenizer tokenizer = Tokenizer.TrainCharacters(Repetitive);
        ModelConfig config = Tiny.Config(family) with { VocabSize = tokenizer.VocabSize, InitStd = 0.1f };
        return LanguageModel.Create(backend, Tiny.Family(family), config, seed: 2, tokenizer);
    }

    public static TokenData Data(LanguageModel model, int context) => new(model.Tokenizer!.Encode(Repetitive), context);
}
