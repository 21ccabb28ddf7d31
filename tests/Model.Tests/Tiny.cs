using MoeFromScratch.Autograd;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests;

/// <summary>Small models of our own, drawn wide enough that routers and attention have opinions.</summary>
public static class Tiny
{
    public static Family Family(string name) => Model.Families.Family.All.Single(f => f.Name == name);

    /// <summary>Two layers, 6 experts or 4, nothing a multiple of 8.</summary>
    public static ModelConfig Config(string family) => family == "mixtral"
        ? new ModelConfig
        {
            VocabSize = 31,
            HiddenSize = 20,
            Attention = new AttentionConfig { Heads = 4, KvHeads = 2, HeadDim = 6, RopeTheta = 1e4f },
            Layers = [.. Enumerable.Repeat(new MoeConfig(new TopKRouterConfig(2), [new FfnExpertsConfig(4, 13)]), 2)],
            MaxPositions = 64,
            InitStd = 0.3f,
            RouterLosses = [new LoadBalanceLoss(0.02f, BalanceScope.Model)],
        }
        : new ModelConfig
        {
            VocabSize = 31,
            HiddenSize = 20,
            Attention = new AttentionConfig { Heads = 2, KvHeads = 2, HeadDim = 10 },
            Layers = [.. Enumerable.Repeat(new MoeConfig(new TopPRouterConfig(0.5f), [new FfnExpertsConfig(6, 11)]), 2)],
            MaxPositions = 64,
            RmsNormEps = 1e-6f,
            InitStd = 0.3f,
        };

    /// <summary>Random ids.</summary>
    public static TraceInput Input(ModelConfig config, int sequences, int length, ulong seed = 1)
    {
        Noise noise = new(seed);
        return new TraceInput([.. Enumerable.Range(0, sequences * length).Select(i => noise.Below(config.VocabSize, i))], sequences) { Tasks = Tasks(config, sequences) };
    }

    /// <summary>A task for each sequence, one after the other from the last, where the model wants to know.</summary>
    public static int[] Tasks(ModelConfig config, int sequences) =>
        config.Layers.OfType<MoeConfig>().Select(static m => m.Router).OfType<TaskRouterConfig>().FirstOrDefault() is { } router
            ? [.. Enumerable.Range(0, sequences).Select(b => (router.Tasks * sequences - 1 - b) % router.Tasks)] : [];

    /// <summary>Logits [T, V] of whole sequences in one packed pass.</summary>
    public static float[] Logits(LanguageModel model, ReadOnlySpan<int> tokens, params ReadOnlySpan<int> lengths)
    {
        using Tape g = Tape.Inference(model.Backend);
        return model.Backend.ToFloats(model.Transformer.Forward(g, Batch.Packed(g, tokens, lengths, Tasks(model.Config, lengths.Length)), []).Logits);
    }
}
