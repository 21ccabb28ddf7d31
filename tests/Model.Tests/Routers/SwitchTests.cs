using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>The layer of Switch Transformers against the reference implementation, and the choices that this one has beyond it.</summary>
public sealed class SwitchTests
{
    private const int Sequences = 3, Length = 17, Tokens = Sequences * Length, D = 48, E = 4;

    public static TheoryData<string> AllMachines { get; } = [.. Machines.All];

    private static ModelConfig Model { get; } = Tiny.Config("mixtral") with { HiddenSize = D };

    private static SwitchRouterConfig Router { get; } = new()
    {
        Capacity = new CapacityConfig(0, Min: 5, DropPolicy.Position) { PerSequence = true },
        PassDropped = true,
    };

    private static GoldenLayer Golden() => new("switch-mlp")
    {
        NameInFile = static path => path == "mlp.gate.weight" ? "mlp.router.classifier.weight" : path.Replace(".experts.", ".experts.expert_", StringComparison.Ordinal),
    };

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TheReferencesLayerMatches(string machine)
    {
        GoldenLayer golden = Golden();
        using IBackend backend = Machines.Make(machine);
        using WeightStore weights = new(backend, golden, trainable: true);
        using Tape g = Tape.Training(backend);
        Tensor x = golden.Leaf(backend, "hidden_states");
        (Tensor output, Routing r) = Forward(g, weights, x, Router);
        LoadBalanceLoss balance = new(0.02f, BalanceScope.Sequence) { DroppedCountForFirst = true };
        RouterZLoss z = new(0.003f);
        Tensor tokenWeights = Loss.TokenWeights(g, Tokens, null);
        Tensor auxLoss = balance.Of(g, [r], tokenWeights), zLoss = z.Of(g, [r], tokenWeights);

        golden.Close("output", backend, output);
        golden.Close("router_logits", backend, r.Logits);
        golden.Close("router_probs", backend, r.Probs);
        golden.Close("router_mask", backend, r.Kept);
        golden.Close("aux_loss", backend, auxLoss);
        golden.Close("z_loss", backend, zLoss);
        float[] selected = backend.ToFloats(r.Selected), kept = backend.ToFloats(r.Kept), passed = backend.ToFloats(r.Detail!.PassedOn!);
        Assert.Equal(golden.Expected["chosen_expert"].Integers, ArgMax(selected));
        Assert.Equal(golden.Expected["expert_index"].Integers, ArgMax(kept));
        Assert.Equal(golden.Expected["dropped"].Integers, passed.Select(static p => p > 0 ? 1L : 0));
        golden.Close("expert_weight", backend, r.Weights);

        Tensor loss = g.Add(Mean(g, output, golden.Constant(g, "probe")), g.Add(g.Scale(auxLoss, balance.Coefficient), g.Scale(zLoss, z.Coefficient)));
        Close.Within("loss", golden.Gradients["loss"].Floats!, backend.ToFloats(loss), 2e-5f, 0);
        g.Backward(loss);
        golden.GradientsClose(backend, weights);
        golden.GradientClose("hidden_states", x.Shape, backend.ToFloats(x.Grad!));
        Assert.Equal(golden.Gradients.Count(static t => t.Key.StartsWith("grad.mlp.", StringComparison.Ordinal)), weights.All.Count);
    }

    /// <summary>Without passing on, dropped tokens get nothing, and all others what they got.</summary>
    [Fact]
    public void WhatIsDroppedIsDropped()
    {
        GoldenLayer golden = Golden();
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using WeightStore weights = new(backend, golden, trainable: false);
        using Tape g = Tape.Inference(backend, keepAll: true);
        (Tensor y, Routing r) = Forward(g, weights, golden.Constant(g, "hidden_states"), Router with { PassDropped = false });
        float[] output = backend.ToFloats(y), expected = golden.Expected["output"].Floats!;
        long[] dropped = golden.Expected["dropped"].Integers!;
        Assert.Equal(dropped.Sum(), r.CountDropped(backend));
        for (int t = 0; t < Tokens; t++)
        {
            float[] wanted = dropped[t] > 0 ? new float[D] : expected[(t * D)..((t + 1) * D)];
            Close.Activations("output", wanted, output.AsSpan(t * D, D));
        }
    }

    /// <summary>Shares of each sequence by itself, by the formula in double; dropped choices count for whom they chose, or for expert 0; padding does not.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void BalanceOfSequencesIsTheFormula(bool first, bool padded)
    {
        GoldenLayer golden = Golden();
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using WeightStore weights = new(backend, golden, trainable: false);
        using Tape g = Tape.Inference(backend, keepAll: true);
        (_, Routing r) = Forward(g, weights, golden.Constant(g, "hidden_states"), Router);
        float[] mask = [.. Enumerable.Range(0, Tokens).Select(t => padded && t % Length < t / Length * 5 ? 0f : 1)];
        Tensor tokenWeights = Loss.TokenWeights(g, Tokens, g.Constant<float>([Tokens], DType.F32, mask));
        float[] probs = backend.ToFloats(r.Probs), selected = backend.ToFloats(r.Selected), kept = backend.ToFloats(r.Kept);
        double sum = 0;
        for (int b = 0; b < Sequences; b++)
        {
            int[] rows = [.. Enumerable.Range(b * Length, Length).Where(t => mask[t] > 0)];
            for (int e = 0; e < E; e++)
            {
                double share = rows.Average(t => !first ? selected[t * E + e] : kept[t * E + e] + (e == 0 ? 1 - kept.AsSpan(t * E, E).ToArray().Sum() : 0));
                sum += share * rows.Average(t => probs[t * E + e]) * E / Sequences;
            }
        }
        Tensor loss = new LoadBalanceLoss(1, BalanceScope.Sequence) { DroppedCountForFirst = first }.Of(g, [r], tokenWeights);
        Assert.Equal(sum, backend.ToFloats(loss)[0], 1e-5);
    }

    /// <summary>Each noise shakes the logits as far as it may, by seed, pass and layer, and not without a seed.</summary>
    [Theory]
    [InlineData("input", 0.1f)]
    [InlineData("logit", 0.1f)]
    [InlineData("normal", 0.2f)]
    public void NoiseIsThereInTrainingOnly(string kind, float size)
    {
        GoldenLayer golden = Golden();
        using IBackend backend = Machines.Make(Machines.Reference);
        SwitchRouterConfig shaken = kind switch
        {
            "input" => new() { InputJitter = size },
            "logit" => new() { LogitJitter = size },
            _ => new() { LogitNoise = size },
        };
        float[] plain = Logits(default), noisy = Logits(new() { Noise = (3, 4) });
        Assert.Equal(golden.Expected["router_logits"].Floats!, plain.Select(static l => l), Near);
        Assert.Equal(noisy, Logits(new() { Noise = (3, 4) }));
        Assert.All([Logits(new() { Noise = (4, 4) }), Logits(new() { Noise = (3, 5) }), Logits(new() { Noise = (3, 4), Layer = 1 })], other => Assert.NotEqual(noisy, other));
        double[] change = [.. noisy.Zip(plain, (n, p) => kind == "logit" ? n / (double)p - 1 : n - p)];
        double deviation = Math.Sqrt(change.Average(static c => c * c));
        if (kind == "logit")
            Assert.All(change, c => Assert.InRange(Math.Abs(c), 0, size * 1.0001));
        if (kind != "input")
            Assert.Equal(kind == "normal" ? size : size / Math.Sqrt(3), deviation, 0.15 * size);
        Assert.True(deviation > 0);

        float[] Logits(RouterContext context)
        {
            using WeightStore weights = new(backend, golden, trainable: false);
            using Tape g = Tape.Training(backend);
            MoeConfig moe = new(shaken, [new MlpExpertsConfig(E, 72)]);
            return backend.ToFloats(shaken.Build(Model, moe, weights.Root["mlp"]).Route(g, golden.Constant(g, "hidden_states"), context).Logits);
        }

        static bool Near(float a, float b) => MathF.Abs(a - b) < 1e-4f;
    }

    /// <summary>With jitter, drops and the reference's losses it trains, the same whether blocks are kept or computed again.</summary>
    [Fact]
    public void TrainsTheSameWithCheckpointing()
    {
        SwitchRouterConfig router = Router with { Capacity = new CapacityConfig(1.25f, Policy: DropPolicy.Position) { PerSequence = true }, InputJitter = 0.01f };
        MoeConfig moe = new(router, [new MlpExpertsConfig(E, 9)]);
        RouterLoss[] losses = [new LoadBalanceLoss(0.01f, BalanceScope.Sequence) { DroppedCountForFirst = true }, new RouterZLoss(0.001f)];
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [moe, moe], InitStd = 0.1f, RouterLosses = losses };
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        float[][] runs = [.. new[] { false, true }.Select(checkpoint =>
        {
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
            TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
            TrainOptions options = Texts.Options(context: 12) with { Steps = 40, RouterLosses = losses, CheckpointBlocks = checkpoint };
            using Trainer trainer = new(model, data, options);
            List<TrainStep> steps = [];
            trainer.Run(steps.Add);
            Assert.Contains(steps, static s => s.DroppedPerToken[0] > 0);
            return steps.Select(static s => s.Loss).ToArray();
        })];
        Bits.Equal("losses", runs[0], runs[1]);
        Assert.True(runs[0][^1] < 0.4f * runs[0][0], $"{runs[0][0]} to {runs[0][^1]}");
    }

    /// <summary>Both activations, as plain sums.</summary>
    [Theory]
    [InlineData(Activation.Relu)]
    [InlineData(Activation.GeluTanh)]
    public void AnExpertIsItsFormula(Activation activation)
    {
        const int F = 9;
        using IBackend backend = Machines.Make(Machines.Cpu(4, 2));
        using WeightStore weights = new(backend, new RandomWeights(5), trainable: false);
        MoeConfig moe = new(new SwitchRouterConfig(), [new MlpExpertsConfig(1, F, activation)]);
        MoeLayer layer = new(Model with { InitStd = 0.3f }, moe, weights.Root["mlp"]);
        float[] x = new Noise(3).Normals(D);
        using Tape g = Tape.Inference(backend);
        (Tensor y, _) = layer.Forward(g, g.Constant<float>([1, D], DType.F32, x), new RouterContext());
        float[] wi = Parameter("mlp.experts.0.wi.weight"), wo = Parameter("mlp.experts.0.wo.weight");
        double[] h = [.. Enumerable.Range(0, F).Select(f => Apply(x.Select((v, d) => (double)v * wi[f * D + d]).Sum()))];
        Close.Within("y", [.. Enumerable.Range(0, D).Select(d => (float)h.Select((v, f) => v * wo[d * F + f]).Sum())], backend.ToFloats(y), 1e-5f, 1e-5f);

        double Apply(double v) => activation == Activation.Relu ? Math.Max(v, 0) : v / 2 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)));
        float[] Parameter(string path) => backend.ToFloats(weights.All.Single(p => p.Name == path));
    }

    private static (Tensor, Routing) Forward(Tape g, WeightStore weights, Tensor x, SwitchRouterConfig router)
    {
        MoeLayer layer = new(Model, new MoeConfig(router, [new MlpExpertsConfig(E, 72)]), weights.Root["mlp"]);
        int[] sequences = [.. Enumerable.Range(0, Sequences).SelectMany(static b => (int[])[b * Length, Length, b * Length, Length])];
        (Tensor y, Routing? r) = layer.Forward(g, x, new RouterContext { Sequences = sequences });
        return (y, r!.Value);
    }

    /// <summary>Of each token's row; 0 where nothing is chosen.</summary>
    private static IEnumerable<long> ArgMax(float[] mask) => mask.Chunk(E).Select(static row => (long)Array.IndexOf(row, row.Max()));

    private static Tensor Mean(Tape g, Tensor y, Tensor probe)
    {
        Tensor rows = g.RowDot(y, probe);
        return g.RowDot(rows, g.Constant([rows.Cols], 1f / y.Count));
    }
}
