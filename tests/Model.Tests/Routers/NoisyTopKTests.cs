using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Noisy top-k with its noise: recorded draws against the reference implementations, and what our own draws must keep to.</summary>
public sealed class NoisyTopKTests
{
    private const int D = 32, E = 5, TopK = 2;
    private const float Epsilon = 0.01f, BalanceWeight = 0.05f, ScoreScale = 2.5f;

    public static TheoryData<string> AllMachines { get; } = [.. Machines.All];

    private static ModelConfig Model { get; } = Tiny.Config("mixtral") with { HiddenSize = D };

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TheReleasedCodesFormMatches(string machine)
    {
        Family family = Tiny.Family("llama-moe");
        GoldenLayer golden = new("noisy-top-k") { NameInFile = path => family.NameInFile("." + path)[1..] };
        MoeConfig moe = new(new NoisyTopKRouterConfig(TopK, ScoreScale, Epsilon) { LoadRule = LoadRule.NoiseAlone }, [new FfnExpertsConfig(E, 24)]);
        using IBackend backend = Machines.Make(machine);
        using WeightStore weights = new(backend, golden, trainable: true);
        using Tape g = Tape.Training(backend);
        Tensor x = golden.Leaf(backend, "hidden_states");
        Tensor noise = golden.Constant(g, "noise");

        Routing r = Route(g, moe, weights, x, noise, out Tensor clean, out Tensor deviation);
        ExpertBank bank = moe.Banks[0].Build(Model, weights.Root["mlp"], 0);
        Tensor output = g.Experts(x, r, [bank]);
        Tensor balance = new ImportanceLoadLoss(BalanceWeight).Of(g, [r], clean);
        golden.Close("clean_logits", backend, clean);
        golden.Close("noise_stddev", backend, deviation);
        golden.Close("noisy_logits", backend, r.Logits);
        golden.Close("gates", backend, g.Scale(r.Weights, 1 / ScoreScale));
        golden.Close("importance", backend, ((ImportanceAndLoad)r.Detail!).Importance);
        golden.Close("load", backend, ((ImportanceAndLoad)r.Detail!).Load);
        golden.Close("balance_loss", backend, balance);
        golden.Close("output", backend, output);
        Assert.Equal(TopIndices(golden.Expected["top_indices"].Integers!), backend.ToFloats(r.Selected));
        golden.Close("is_in_llama_moe", backend, IsIn(g, r.Logits, g.Mul(noise, deviation)));
        golden.Close("is_in_shazeer", backend, IsIn(g, r.Logits, r.Logits));

        Tensor loss = g.Add(Mean(g, output, golden.Constant(g, "probe")), balance);
        Close.Within("loss", golden.Gradients["loss"].Floats!, backend.ToFloats(loss), 2e-5f, 0);
        g.Backward(loss);
        golden.GradientsClose(backend, weights);
        golden.GradientClose("hidden_states", x.Shape, backend.ToFloats(x.Grad!));
        Assert.Equal(golden.Gradients.Count(static t => t.Key.StartsWith("grad.mlp.", StringComparison.Ordinal)), weights.All.Count);
    }

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void ThePapersFormMatches(string machine)
    {
        GoldenLayer golden = new("noisy-top-k") { NameInFile = static path => path == "mlp.gate.weight" ? "shazeer.w_gate" : "shazeer.w_noise", Transposed = true };
        MoeConfig moe = new(new NoisyTopKRouterConfig(TopK, NoiseEpsilon: Epsilon), [new FfnExpertsConfig(E, 24)]);
        using IBackend backend = Machines.Make(machine);
        using WeightStore weights = new(backend, golden, trainable: true);
        using Tape g = Tape.Training(backend);
        Tensor x = golden.Leaf(backend, "hidden_states");

        Routing r = Route(g, moe, weights, x, golden.Constant(g, "noise"), out Tensor clean, out Tensor deviation);
        Tensor balance = new ImportanceLoadLoss(BalanceWeight).Of(g, [r], clean);
        golden.Close("shazeer.clean_logits", backend, clean);
        golden.Close("shazeer.noise_stddev", backend, deviation);
        golden.Close("shazeer.noisy_logits", backend, r.Logits);
        golden.Close("shazeer.gates", backend, r.Weights);
        golden.Close("shazeer.importance", backend, ((ImportanceAndLoad)r.Detail!).Importance);
        golden.Close("shazeer.load", backend, ((ImportanceAndLoad)r.Detail!).Load);
        golden.Close("shazeer.balance_loss", backend, balance);

        Tensor loss = g.Add(Mean(g, r.Weights, golden.Constant(g, "shazeer.probe")), balance);
        Close.Within("loss", golden.Gradients["shazeer.loss"].Floats!, backend.ToFloats(loss), 2e-5f, 0);
        g.Backward(loss);
        golden.GradientsClose(backend, weights);
        Close.Gradient("hidden_states", golden.Gradients["grad.shazeer.hidden_states"].Floats!, backend.ToFloats(x.Grad!));
    }

    /// <summary>Where all experts are chosen, nobody could be in or out by chance: the load is the count, as without noise.</summary>
    [Theory]
    [InlineData(E, Epsilon)]
    [InlineData(TopK, 0f)]
    public void WithoutChanceTheLoadIsACount(int topK, float epsilon)
    {
        foreach (bool noise in new[] { false, true })
        {
            using IBackend backend = Machines.Make(Machines.Reference);
            using WeightStore weights = new(backend, new RandomWeights(5), trainable: true);
            using Tape g = Tape.Training(backend);
            Routing r = Draw(g, weights, new NoisyTopKRouterConfig(topK, 1, epsilon), new RouterContext { Noise = noise ? (3, 4) : null });
            float[] selected = backend.ToFloats(r.Selected);
            Tensor load = ((ImportanceAndLoad)r.Detail!).Load;
            Assert.Equal(Enumerable.Range(0, E).Select(e => selected.Where((_, i) => i % E == e).Sum()), backend.ToFloats(load));
            Assert.False(load.RequiresGrad);
        }
    }

    /// <summary>Noise is a function of seed, step and layer, is there only in training, and its mean and size are what they should be.</summary>
    [Fact]
    public void DrawsAreAFunctionOfSeedStepAndLayer()
    {
        float[] plain = Logits(null, 0), first = Logits((3, 4), 0);
        Assert.Equal(first, Logits((3, 4), 0));
        Assert.NotEqual(first, Logits((3, 5), 0));
        Assert.NotEqual(first, Logits((2, 4), 0));
        Assert.NotEqual(first, Logits((3, 4), 1));
        double deviation = Math.Log(2) + Epsilon;       // W_noise starts at 0
        double[] noise = [.. first.Zip(plain, (n, p) => (n - p) / deviation)];
        Assert.Equal(0, noise.Average(), 4 / Math.Sqrt(noise.Length));
        Assert.Equal(1, noise.Average(static n => n * n), 6 / Math.Sqrt(noise.Length));

        static float[] Logits((ulong, long)? noise, int layer)
        {
            using IBackend backend = Machines.Make(Machines.Reference);
            using WeightStore weights = new(backend, new RandomWeights(5), trainable: false);
            using Tape g = Tape.Training(backend);
            return backend.ToFloats(Draw(g, weights, new NoisyTopKRouterConfig(TopK, NoiseEpsilon: Epsilon), new RouterContext { Noise = noise, Layer = layer }).Logits);
        }
    }

    /// <summary>It trains, with noise weights that leave 0, and recomputed blocks draw the same noise again.</summary>
    [Theory]
    [InlineData(LoadRule.NoisyLogit)]
    [InlineData(LoadRule.NoiseAlone)]
    public void TrainsTheSameWithCheckpointing(LoadRule rule)
    {
        MoeConfig moe = new(new NoisyTopKRouterConfig(TopK) { LoadRule = rule }, [new FfnExpertsConfig(4, 9)]);
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [moe, moe], InitStd = 0.1f, RouterLosses = [new ImportanceLoadLoss(0.01f)] };
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        float[][] losses = [.. new[] { false, true }.Select(checkpoint =>
        {
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
            TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
            TrainOptions options = Texts.Options(context: 12) with { Steps = 30, RouterLosses = config.RouterLosses, CheckpointBlocks = checkpoint };
            using Trainer trainer = new(model, data, options);
            List<float> steps = [];
            trainer.Run(s => steps.Add(s.Loss));
            Assert.All(model.Weights.All.Where(static p => p.Name!.Contains("gate_noise")), p => Assert.Contains(backend.ToFloats(p), static v => v != 0));
            return steps.ToArray();
        })];
        Bits.Equal("losses", losses[0], losses[1]);
        Assert.True(losses[0][^1] < 0.4f * losses[0][0], $"{losses[0][0]} to {losses[0][^1]}");
    }

    /// <summary>A run that stopped and went on draws what the run that never stopped drew.</summary>
    [Fact]
    public void NoiseGoesOnWhereItStopped()
    {
        MoeConfig noisy = new(new NoisyTopKRouterConfig(TopK), [new FfnExpertsConfig(4, 9)]);
        MoeConfig jittered = noisy with { Router = new SwitchRouterConfig { InputJitter = 0.1f, LogitJitter = 0.1f, LogitNoise = 0.1f } };
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [noisy, jittered], InitStd = 0.1f };
        using TemporaryFolder folder = new();
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        float[] whole = Steps(6, null, null), first = Steps(3, null, folder["state"]), rest = Steps(3, folder["state"], null);
        Bits.Equal("losses", whole, [.. first, .. rest]);

        float[] Steps(int count, string? from, string? to)
        {
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
            TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
            using Trainer trainer = new(model, data, Texts.Options(context: 12) with { Steps = 6, Accumulate = 2, RouterLosses = [new ImportanceLoadLoss(0.01f)] });
            if (from is not null)
                trainer.LoadState(from);
            float[] losses = [.. Enumerable.Range(0, count).Select(_ => trainer.Step().Loss)];
            if (to is not null)
                trainer.SaveState(to);
            return losses;
        }
    }

    private static Routing Route(Tape g, MoeConfig moe, WeightStore weights, Tensor x, Tensor noise, out Tensor clean, out Tensor deviation)
    {
        NoisyTopKRouter router = (NoisyTopKRouter)moe.Router.Build(Model, moe, weights.Root["mlp"]);
        deviation = router.Deviation(g, x);
        clean = g.Linear(x, weights.All.Single(static p => p.Name == "mlp.gate.weight"));
        return router.Noisy(g, clean, deviation, noise);
    }

    private static Routing Draw(Tape g, WeightStore weights, NoisyTopKRouterConfig config, in RouterContext context)
    {
        const int Tokens = 60;
        MoeConfig moe = new(config, [new FfnExpertsConfig(E, 3)]);
        Tensor x = g.Constant<float>([Tokens, D], DType.F32, new Noise(3).Normals(Tokens * D));
        return config.Build(Model, moe, weights.Root).Route(g, x, context);
    }

    /// <summary>[T, E] of the indices' rows.</summary>
    private static float[] TopIndices(long[] indices)
    {
        float[] mask = new float[indices.Length / TopK * E];
        foreach ((int i, long expert) in indices.Index())
            mask[i / TopK * E + expert] = 1;
        return mask;
    }

    private static Tensor IsIn(Tape g, Tensor noisy, Tensor compared)
    {
        float[] next = [.. g.Backend.ToFloats(noisy).Chunk(E).Select(static row => row.OrderDescending().ElementAt(TopK))];
        return NoisyTopKRouter.Above(g, compared, g.Constant<float>([next.Length], DType.F32, next));
    }

    private static Tensor Mean(Tape g, Tensor y, Tensor probe)
    {
        Tensor rows = g.RowDot(y, probe);
        return g.RowDot(rows, g.Constant([rows.Cols], 1f / y.Count));
    }
}
