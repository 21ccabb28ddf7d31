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
            .Keep(g, g.Constant([Tokens, 6], 1), g.Constant<float>([Tokens, 6], DType.F32, logits), new RouterContext(), choices: 6, out int places);

        Assert.Equal(room.Sum(), places);
        float[] actual = backend.ToFloats(kept);
        for (int t = 0; t < Tokens; t++)
            for (int e = 0; e < 6; e++)
            {
                int rank = policy == DropPolicy.Position ? t : Enumerable.Range(0, Tokens).Count(o => logits[o * 6 + e] > logits[t * 6 + e]);
                Assert.Equal(rank < room[e] ? 1 : 0, actual[t * 6 + e]);
            }
    }

    /// <summary>Room for two passes' worth of tokens: rounded up, or down and then to an even number, of the decimal number that was written.</summary>
    [Theory]
    [InlineData(0.9f, 0, 20, RoomRounding.DownThenEven, 10)]     // 0.9 · 20 / 2 is 9, though 0.9 in F32 is below it
    [InlineData(0.8f, 0, 20, RoomRounding.DownThenEven, 8)]
    [InlineData(0.85f, 0, 20, RoomRounding.DownThenEven, 8)]     // 8.5
    [InlineData(0.85f, 0, 20, RoomRounding.Up, 9)]
    [InlineData(0.05f, 4, 20, RoomRounding.DownThenEven, 4)]
    [InlineData(0f, 3, 20, RoomRounding.Up, 3)]
    [InlineData(0f, 3, 20, RoomRounding.DownThenEven, 3)]
    public void RoomIsRounded(float factor, int min, int tokens, RoomRounding rounding, int room)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        MoeConfig moe = new(new TopKRouterConfig(1), [new FfnExpertsConfig(2, 3)]);
        foreach (bool training in new[] { false, true })
        {
            using Tape g = training ? Tape.Training(backend) : Tape.Inference(backend);
            CapacityConfig config = new(training ? factor : 7, min, DropPolicy.Position) { Rounding = rounding, EvaluationFactor = training ? null : factor };
            Tensor all = g.Constant([tokens, 2], 1);
            float[] kept = backend.ToFloats(new Capacity(config, moe).Keep(g, all, all, new RouterContext(), choices: 2, out _));
            Assert.Equal([.. Enumerable.Range(0, 2 * tokens).Select(i => i / 2 < room ? 1f : 0)], kept);
        }
    }

    /// <summary>One by one, as GShard places them: all first choices, then all second ones, then all third ones; each sequence by itself or all together.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void FirstChoicesGoFirst(bool perSequence)
    {
        const int Experts = 5, Choices = 3;
        int[] lengths = [9, 4, 7], starts = [0, 9, 13];
        Contract.Noise noise = new(8);
        float[] scores = [.. Enumerable.Range(0, Tokens * Experts).Select(i => noise.Normal(i) + (i % Experts == 1 ? 1 : 0))];
        int[][] ranked = [.. scores.Chunk(Experts).Select(static row => row.Index().OrderByDescending(static r => r.Item).Take(Choices).Select(static r => r.Index).ToArray())];
        float[] selected = new float[scores.Length], expected = new float[scores.Length];
        foreach ((int t, int[] row) in ranked.Index())
            foreach (int e in row)
                selected[t * Experts + e] = 1;
        foreach ((int start, int length) in perSequence ? starts.Zip(lengths) : [(0, Tokens)])
        {
            int[] room = [.. Enumerable.Repeat((length + 1) / 2, Experts)];     // ⌈2.5 · length / 5⌉
            for (int choice = 0; choice < Choices; choice++)
                for (int t = start; t < start + length; t++)
                    if (room[ranked[t][choice]]-- > 0)
                        expected[t * Experts + ranked[t][choice]] = 1;
        }
        Assert.NotEqual(selected, expected);

        foreach (string machine in new[] { Machines.Reference, Machines.Cpu(8, 2) })
        {
            using IBackend backend = Machines.Make(machine);
            using Tape g = Tape.Inference(backend);
            int[] table = [.. starts.Zip(lengths, static (s, l) => (int[])[s, l, s, l]).SelectMany(static row => row)];
            CapacityConfig config = new(2.5f, Policy: DropPolicy.Choice) { PerSequence = perSequence };
            Tensor kept = new Capacity(config, new MoeConfig(new TopKRouterConfig(1), [new FfnExpertsConfig(Experts, 3)])).Keep(g,
                g.Constant<float>([Tokens, Experts], DType.F32, selected), g.Constant<float>([Tokens, Experts], DType.F32, scores),
                new RouterContext { Sequences = table }, Choices, out int places);
            Assert.Equal(expected, backend.ToFloats(kept));
            Assert.True(expected.Sum() <= places);
        }
    }

    [Fact]
    public void NoRoomForAnybodyIsRefused()
    {
        MoeConfig moe = new(new TopKRouterConfig(1), [new FfnExpertsConfig(2, 3)]);
        foreach (CapacityConfig config in new CapacityConfig[] { new(0), new(-1, 3), new(float.NaN, 3), new(1) { EvaluationFactor = 0 }, new(1, -1), new(1, Tau: 0) })
            Assert.Throws<ArgumentException>(() => new Capacity(config, moe));
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
