using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Checkpoints;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Room for so many tokens, where everybody wants the same experts.</summary>
public sealed class CapacityTests
{
    private const int Tokens = 20;

    /// <summary>Two networks, three zero-computation experts, one shared: what each has room for, by the formula.</summary>
    [Theory]
    [InlineData(1.1f, 0, 1f, DropPolicy.Probs, false, new[] { 5, 5, 5, 5, 20, 5 })]          // ⌈1.1 · 20 / 5⌉
    [InlineData(1.1f, 0, 0.5f, DropPolicy.Probs, false, new[] { 3, 3, 6, 6, 20, 6 })]        // ⌈1.1 · 0.5 · 20 / 4⌉, ⌈1.1 · 20 / 4⌉
    [InlineData(1.1f, 0, 0.25f, DropPolicy.Position, false, new[] { 2, 2, 7, 7, 20, 7 })]    // ⌈1.1 · 0.25 · 20 / 3.5⌉, ⌈1.1 · 20 / 3.5⌉
    [InlineData(0.1f, 4, 0.5f, DropPolicy.Probs, false, new[] { 4, 4, 4, 4, 20, 4 })]
    [InlineData(2f, 0, 1f, DropPolicy.Position, true, new[] { 8, 8, 8, 8, 8, 8 })]
    [InlineData(9f, 0, 1f, DropPolicy.Position, true, new[] { 20, 20, 20, 20, 20, 20 })]
    public void RoomFollowsTheFormula(float factor, int min, float tau, DropPolicy policy, bool limitsShared, int[] room)
    {
        MoeConfig moe = new(new TopKRouterConfig(1),
        [
            new FfnExpertsConfig(2, 3), new ConstantExpertsConfig(1), new CopyExpertsConfig(1), new FfnExpertsConfig(1, 3) { Shared = true }, new ZeroExpertsConfig(1),
        ]);
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using Tape g = Tape.Inference(backend);
        float[] logits = [.. Enumerable.Range(0, Tokens * 6).Select(static i => (float)(i / 6 * 7 % Tokens))];
        Tensor kept = new Capacity(new CapacityConfig(factor, min, policy, tau) { LimitsShared = limitsShared }, moe)
            .Keep(g, g.Constant([Tokens, 6], 1), g.Constant<float>([Tokens, 6], DType.F32, logits));

        float[] actual = backend.ToFloats(kept);
        for (int t = 0; t < Tokens; t++)
            for (int e = 0; e < 6; e++)
            {
                int rank = policy == DropPolicy.Position ? t : Enumerable.Range(0, Tokens).Count(o => logits[o * 6 + e] > logits[t * 6 + e]);
                Assert.Equal(rank < room[e] ? 1 : 0, actual[t * 6 + e]);
            }
    }

    /// <summary>Padding takes nobody's room, and a token that lost everything is left with its shared experts, all of the weight theirs.</summary>
    [Theory]
    [InlineData(DropPolicy.Probs)]
    [InlineData(DropPolicy.Position)]
    public void PaddingTakesNoRoomAndSharedExpertsStay(DropPolicy policy)
    {
        DcMoeRouterConfig router = new(0.6f) { Capacity = new CapacityConfig(0.4f, 2, policy) };
        ModelConfig config = Variants.UniMoe(router, real: 3, none: 1, shared: 2);
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 3);
        using Tape g = Tape.Inference(backend, keepAll: true);
        int[] ids = [.. Enumerable.Range(0, 24).Select(static i => i % 31)], mask = [.. Enumerable.Range(0, 24).Select(static i => i % 12 < 8 ? 1 : 0)];
        List<LayerOutput> layers = [];
        model.Transformer.Forward(g, Batch.Padded(g, ids, 2, mask), layers);
        foreach (Routing r in layers.Select(static l => l.Routing!.Value))
        {
            float[] selected = backend.ToFloats(r.Selected), kept = backend.ToFloats(r.Kept), weights = backend.ToFloats(r.Weights);
            int alone = 0;
            for (int t = 0; t < 24; t++)
            {
                Assert.Equal([1f, 1f], kept[(t * 6 + 4)..(t * 6 + 6)]);
                Assert.Equal(mask[t] > 0, selected[(t * 6)..(t * 6 + 4)].Sum() > 0);
                Assert.Equal(1, weights[(t * 6)..(t * 6 + 6)].Sum(), 1e-5f);
                alone += kept[(t * 6)..(t * 6 + 4)].Sum() == 0 && mask[t] > 0 ? 1 : 0;
            }
            Assert.True(alone > 0);
            for (int e = 0; e < 4; e++)
                Assert.Equal(Math.Min(3, Enumerable.Range(0, 24).Sum(t => selected[t * 6 + e])), Enumerable.Range(0, 24).Sum(t => kept[t * 6 + e]));   // ⌈24 / 4 · 0.4⌉
            Assert.Equal(selected.Sum() - kept.Sum(), r.CountDropped(backend));
        }
    }

    /// <summary>What was dropped is part of a training step's report.</summary>
    [Fact]
    public void TrainingCountsWhatItDrops()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        MoePlusPlusRouterConfig router = new(2) { Capacity = new CapacityConfig(0.5f, Tau: 0.5f) };
        MoeConfig moe = new(router, [new FfnExpertsConfig(3, 7), new CopyExpertsConfig(1)]);
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [moe, moe with { Router = router with { Capacity = null } }], InitStd = 0.1f };
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
        TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
        using Trainer trainer = new(model, data, Texts.Options(context: 12) with { Accumulate = 2 });
        TrainStep step = trainer.Step();
        Assert.Equal(0, step.DroppedPerToken[1]);
        Assert.InRange(step.DroppedPerToken[0], 0.9f, 1.5f);   // of 2 choices per token, 0.5 of the tokens have room, half of that with τ
    }
}
