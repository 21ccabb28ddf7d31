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
    private static Preset ShakespeareChar()
    {
        const int Steps = 2000, Context = 64;
        return new Preset(
            "shakespeare-char",
            "character level, 4 layers, 128 wide, 8 Top-P experts of 172",
            new DynamicMoe(),
            vocabSize => new ModelConfig
            {
                VocabSize = vocabSize,
                HiddenSize = 128,
                Attention = new AttentionConfig { Heads = 4, KvHeads = 4, HeadDim = 32 },
                Layers = [.. Enumerable.Repeat(new MoeConfig(new TopPRouterConfig(0.4f), [new FfnExpertsConfig(8, 172)]), 4)],
                MaxPositions = Context,
                RmsNormEps = 1e-6f,
            },
            new TrainOptions
            {
                Steps = Steps,
                BatchSize = 12,
                Context = Context,
                LearningRate = new LrSchedule(LrDecay.Cosine, Peak: 1e-3f, WarmupSteps: 100, TotalSteps: Steps, Final: 1e-4f),
                AdamW = new AdamWOptions { Beta2 = 0.99 },
                RouterLosses = [new LoadBalanceLoss(1e-2f), new RouterEntropyLoss(1e-4f)],
            });
    }

    /// <summary>The model that comes with the tool: Dynamic-MoE on the practice corpus.</summary>
    private static Preset BuiltIn()
    {
        const int Steps = 1800, Context = 128;
        return new Preset(
            "built-in",
            "stories, lists and sums from the practice corpus, 4 layers, 128 wide, 8 Top-P experts of 112; needs no --data",
            new DynamicMoe(),
            vocabSize => new ModelConfig
            {
                VocabSize = vocabSize,
                HiddenSize = 128,
                Attention = new AttentionConfig { Heads = 4, KvHeads = 4, HeadDim = 32 },
                Layers = [.. Enumerable.Repeat(new MoeConfig(new TopPRouterConfig(0.4f), [new FfnExpertsConfig(8, 112)]), 4)],
                MaxPositions = 256,
                RmsNormEps = 1e-6f,
                InitStd = 0.06f,
            },
            new TrainOptions
            {
                Steps = Steps,
                BatchSize = 16,
                Context = Context,
                LearningRate = new LrSchedule(LrDecay.Cosine, Peak: 3e-3f, WarmupSteps: 100, TotalSteps: Steps, Final: 1e-4f),
                AdamW = new AdamWOptions { Beta2 = 0.99 },
                RouterLosses = [new LoadBalanceLoss(1e-2f), new RouterEntropyLoss(1e-4f)],
            })
        {
            Tokenizer = TokenizerChoice.Bpe(768),
            Text = static end => PracticeCorpus.Write(documents: 200_000, seed: 0, end),
        };
    }
}
