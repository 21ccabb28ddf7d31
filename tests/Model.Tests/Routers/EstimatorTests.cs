using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Checkpoints;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>DCMoE's estimate of the gradient through the choice of experts.</summary>
public sealed class EstimatorTests
{
    private const int Tokens = 12, E = 5, D = 20;

    public static TheoryData<string> TwoMachines { get; } = [Machines.Reference, Machines.Cpu(8, 2)];

    /// <summary>
    /// Whatever is drawn, the gradients are twice those of the plain layer. The value is the plain one for the likeliest expert;
    /// another's is 1 or 1/3 of it, on average 5/8 + 3/8 · 1/3 = 3/4.
    /// </summary>
    [Theory]
    [MemberData(nameof(TwoMachines))]
    public void TheMeanIsTheClosedForm(string machine)
    {
        const int Draws = 600;
        using IBackend backend = Machines.Make(machine);
        using WeightStore weights = new(backend, new RandomWeights(5), trainable: true);
        MoeConfig moe = new(new DcMoeRouterConfig(0.8f) { Jitter = 0.1f }, [new FfnExpertsConfig(E, 6)]);
        MoeLayer layer = new(Tiny.Config("mixtral") with { InitStd = 0.4f }, moe, weights.Root["mlp"]);
        float[] x = new Noise(3).Normals(Tokens * D), dy = new Noise(4).Normals(Tokens * D);

        (float[] plain, List<float[]> gradients, float[] probs) = Run(new RouterContext());
        double[] sum = new double[plain.Length];
        for (int draw = 0; draw < Draws; draw++)
        {
            (float[] drawn, List<float[]> estimated, _) = Run(new RouterContext { Noise = (7, draw), EstimateChoice = true }, backward: draw < 3);
            for (int i = 0; i < plain.Length; i++)
            {
                Assert.True(drawn[i] == plain[i] || MathF.Abs(drawn[i] - plain[i] / 3) < 1e-6f, $"{drawn[i]} of {plain[i]}");
                sum[i] += drawn[i];
            }
            foreach ((float[] once, float[] twice) in gradients.Zip(estimated))
                Close.Within("gradient", [.. once.Select(static d => 2 * d)], twice, 1e-5f * once.Max(MathF.Abs) + 1e-7f, 0);
        }
        for (int i = 0; i < plain.Length; i++)
        {
            bool likeliest = probs[i] == probs.AsSpan(i / E * E, E).ToArray().Max();
            Assert.Equal(likeliest ? plain[i] : 0.75 * plain[i], sum[i] / Draws, likeliest ? 1e-6 : 0.08 * plain[i]);   // six deviations of a mean of 600
        }
        Assert.Contains(plain.Index(), i => i.Item > 0 && probs[i.Index] < probs.AsSpan(i.Index / E * E, E).ToArray().Max());

        (float[] Weights, List<float[]> Gradients, float[] Probs) Run(in RouterContext context, bool backward = true)
        {
            using Tape g = Tape.Training(backend);
            weights.ZeroGrad();
            (Tensor y, Routing? r) = layer.Forward(g, g.Constant<float>([Tokens, D], DType.F32, x), context);
            float[] used = backend.ToFloats(r!.Value.Weights), p = backend.ToFloats(r.Value.Probs);
            if (!backward)
                return (used, [], p);
            g.Backward(y, dy);
            return (used, [.. weights.All.Select(w => backend.ToFloats(w.Grad!))], p);
        }
    }

    /// <summary>The same steps whether blocks are kept or computed again: the draws come back.</summary>
    [Fact]
    public void TrainsTheSameWithCheckpointing()
    {
        ModelConfig config = Variants.Everything() with { InitStd = 0.1f };
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        float[][] losses = [.. new[] { false, true }.Select(checkpoint =>
        {
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
            TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
            using Trainer trainer = new(model, data, Texts.Options(context: 12) with { Steps = 25, EstimateChoice = true, CheckpointBlocks = checkpoint });
            List<float> steps = [];
            trainer.Run(s => steps.Add(s.Loss));
            return steps.ToArray();
        })];
        Bits.Equal("losses", losses[0], losses[1]);
        Assert.True(losses[0][^1] < 0.3f * losses[0][0], $"{losses[0][0]} to {losses[0][^1]}");
    }
}
