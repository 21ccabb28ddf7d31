using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Training.Corpus;

namespace MoeFromScratch.Model.Training;

/// <summary>A model's shape and a way to train it, under one name.</summary>
/// <param name="Family">Whose checkpoints it writes.</param>
/// <param name="Model">The shape, for a vocabulary of so many.</param>
public sealed record Preset(string Name, string Description, Family Family, Func<int, ModelConfig> Model, TrainOptions Training)
{
    public static IReadOnlyList<Preset> All { get; } = [ShakespeareChar(), BuiltIn()];

    public TokenizerChoice Tokenizer { get; init; } = TokenizerChoice.Characters;

    /// <summary>A text of its own, for runs that name none, by what ends a document in it; null where there is no such.</summary>
    public Func<string, string>? Text { get; init; }

    /// <summary>
    /// nanoGPT's smallest setting (4 layers, 128 wide, context 64, batch 12) with Dynamic-MoE's routing: 8 experts of half
    /// the dense width, Top-P 0.4, the paper's two router losses.
    /// </summary>
    private static Preset ShakespeareChar() => new(
        "shakespeare-char",
        "character level, 4 layers, 128 wide, 8 Top-P experts of 172",
        new DynamicMoe(),
        static vocabSize => Small(vocabSize, expertWidth: 172, maxPositions: 64, initStd: 0.02f),
        Options(steps: 2000, batchSize: 12, context: 64, peak: 1e-3f));

    /// <summary>The model that comes with the tool: Dynamic-MoE on the practice corpus.</summary>
    private static Preset BuiltIn() => new(
        "built-in",
        "stories, lists and sums from the practice corpus, 4 layers, 128 wide, 8 Top-P experts of 112; needs no --data",
        new DynamicMoe(),
        static vocabSize => Small(vocabSize, expertWidth: 112, maxPositions: 256, initStd: 0.06f),
        Options(steps: 1800, batchSize: 16, context: 128, peak: 3e-3f))
    {
        Tokenizer = TokenizerChoice.Bpe(768),
        Text = static end => PracticeCorpus.Write(documents: 200_000, seed: 0, end),
    };

    private static ModelConfig Small(int vocabSize, int expertWidth, int maxPositions, float initStd) => new()
    {
        VocabSize = vocabSize,
        HiddenSize = 128,
        Attention = new AttentionConfig { Heads = 4, KvHeads = 4, HeadDim = 32 },
        Layers = [.. Enumerable.Repeat(new MoeConfig(new TopPRouterConfig(0.4f), [new FfnExpertsConfig(8, expertWidth)]), 4)],
        MaxPositions = maxPositions,
        RmsNormEps = 1e-6f,
        InitStd = initStd,
    };

    private static TrainOptions Options(int steps, int batchSize, int context, float peak) => new()
    {
        Steps = steps,
        BatchSize = batchSize,
        Context = context,
        LearningRate = new LrSchedule(LrDecay.Cosine, peak, WarmupSteps: 100, steps, Final: 1e-4f),
        AdamW = new AdamWOptions { Beta2 = 0.99 },
        RouterLosses = [new LoadBalanceLoss(1e-2f), new RouterEntropyLoss(1e-4f)],
    };
}
