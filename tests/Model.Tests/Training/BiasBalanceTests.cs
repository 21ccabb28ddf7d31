using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Training;

/// <summary>Selection biases that move towards an even load.</summary>
public sealed class BiasBalanceTests : IDisposable
{
    private const int Context = 16, Experts = 4;
    private const string Bias = "model.layers.1.mlp.gate.e_score_correction_bias";

    private readonly TemporaryFolder _folder = new();

    private static TrainOptions Options => Texts.Options(Context) with { Steps = 10, Accumulate = 2, BiasUpdateRate = 0.01f };

    public void Dispose() => _folder.Dispose();

    /// <summary>b += u · sign(mean − load), with the loads of all micro-batches.</summary>
    [Fact]
    public void OneStepMovesEveryBiasByTheRate()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Model(backend);
        TokenData data = Texts.Data(model, Context);
        int[] loads = new int[Experts], inputs = new int[2 * Context], labels = new int[2 * Context];
        for (int micro = 0; micro < 2; micro++)
        {
            data.Train(Options.Seed, step: 1, micro, inputs, labels);
            using Tape g = Tape.Training(backend);
            List<LayerOutput> layers = [];
            model.Transformer.Forward(g, Batch.Packed(g, inputs, [Context, Context]), layers);
            foreach ((int i, float chosen) in backend.ToFloats(layers[1].Routing!.Value.Selected).Index())
                loads[i % Experts] += (int)chosen;
        }
        Assert.Equal(2 * 2 * 2 * Context, loads.Sum());
        Assert.True(loads.Distinct().Count() > 1);

        using Trainer trainer = new(model, data, Options);
        trainer.Step();
        double mean = loads.Average();
        Assert.Equal(loads.Select(l => 0.01f * Math.Sign(mean - l)), BiasOf(model));
    }

    /// <summary>Padding is no load.</summary>
    [Fact]
    public void PaddingIsNotCounted()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = Model(backend);
        using BiasBalance balance = new(model, 1);
        using Tape g = Tape.Inference(backend, keepAll: true);
        List<LayerOutput> layers = [];
        Batch batch = Batch.Padded(g, [1, 2, 3, 4, 5, 6], 1, [1, 1, 0, 0, 0, 0]);
        model.Transformer.Forward(g, batch, layers);
        balance.Start();
        balance.Count(layers, batch.TokenMask);
        balance.Step();
        float[] selected = backend.ToFloats(layers[1].Routing!.Value.Selected);
        Assert.Equal(Enumerable.Range(0, Experts).Select(e => (float)Math.Sign(1 - selected[e] - selected[Experts + e])), BiasOf(model));
    }

    /// <summary>A gate that sends nearly everything to two experts, at a learning rate of nothing: the biases alone even the load out.</summary>
    [Fact]
    public void ASkewedRouterBecomesBalanced()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Model(backend);
        backend.Upload<float>([0.8f, 0.5f, -0.5f, -0.8f], model.Weights.Buffers[0]);
        TrainOptions options = Options with { Steps = 60, Accumulate = 1, BiasUpdateRate = 0.02f, LearningRate = new LrSchedule(LrDecay.Constant, 1e-9f, 0, 60) };
        using Trainer trainer = new(model, Texts.Data(model, Context), options);
        double before = Violation();
        trainer.Run(static _ => { });
        Assert.InRange(before, 0.8, 1);
        Assert.InRange(Violation(), 0, 0.5);

        double Violation()      // (largest − mean) / mean: MaxVio of the paper
        {
            using Tape g = Tape.Inference(backend);
            List<LayerOutput> layers = [];
            int[] tokens = model.Tokenizer!.Encode(Texts.Repetitive)[..240];
            model.Transformer.Forward(g, Batch.Packed(g, tokens, [.. Enumerable.Repeat(Context, 15)]), layers);
            int[] offsets = layers[1].Routing!.Value.HostOffsets!;
            return Enumerable.Range(0, Experts).Max(e => offsets[e + 1] - offsets[e]) / (offsets[^1] / (double)Experts) - 1;
        }
    }

    [Fact]
    public void AResumedRunIsTheRunThatNeverStopped()
    {
        Run(trainer =>
        {
            trainer.Run(static _ => { });
            trainer.SaveState(_folder["whole"]);
            trainer.Model.Save(_folder["model"]);
        });
        Run(trainer =>
        {
            for (int i = 0; i < 4; i++)
                trainer.Step();
            trainer.SaveState(_folder["four"]);
        });
        Run(trainer =>
        {
            trainer.LoadState(_folder["four"]);
            trainer.Run(static _ => { });
            trainer.SaveState(_folder["parts"]);
            float[] bias = BiasOf(trainer.Model);
            Assert.Contains(bias, static b => b != 0);
            using LanguageModel saved = LanguageModel.Load(_folder["model"], trainer.Model.Backend);
            Assert.Equal(bias, BiasOf(saved));
        });
        Assert.Equal(File.ReadAllBytes(_folder["whole"]), File.ReadAllBytes(_folder["parts"]));
        Run(trainer => Assert.Contains("cannot resume: bias update rate was 0.01 and is 0.02 now",
            Assert.Throws<CheckpointException>(() => trainer.LoadState(_folder["four"])).Message, StringComparison.Ordinal), Options with { BiasUpdateRate = 0.02f });
    }

    [Fact]
    public void WhatCannotBeBalancedIsRefused()
    {
        Assert.Contains("has none", Assert.Throws<ArgumentException>(() => Run(static _ => { }, family: "mixtral")).Message, StringComparison.Ordinal);
        foreach (float rate in new[] { -0.1f, float.NaN, float.PositiveInfinity })
            Assert.Throws<ArgumentException>(() => Run(static _ => { }, Options with { BiasUpdateRate = rate }));
    }

    private static void Run(Action<Trainer> act, TrainOptions? options = null, string? family = null)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = family is null ? Model(backend) : Texts.Model(backend, family);
        using Trainer trainer = new(model, Texts.Data(model, Context), options ?? Options);
        act(trainer);
    }

    /// <summary>A dense layer, then DeepSeek-V3's router over four experts.</summary>
    private static LanguageModel Model(IBackend backend)
    {
        Tokenizer tokenizer = Tokenizer.TrainCharacters(Texts.Repetitive);
        GroupedTopKRouterConfig router = new(2) { Scores = RouterScores.Sigmoid, SelectionBias = true, Renormalize = true, Scale = 1.5f };
        ModelConfig config = Tiny.Config("mixtral") with
        {
            VocabSize = tokenizer.VocabSize,
            InitStd = 0.3f,
            Layers = [new DenseConfig(13), new MoeConfig(router, [new FfnExpertsConfig(Experts, 13)])],
            RouterLosses = [],
        };
        return LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 2, tokenizer);
    }

    private static float[] BiasOf(LanguageModel model)
    {
        Tensor bias = model.Weights.Buffers.Single();
        Assert.Equal(Bias, bias.Name);
        return model.Backend.ToFloats(bias);
    }
}
