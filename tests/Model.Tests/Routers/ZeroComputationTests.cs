using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Experts without a network against their formulas, and the loss that makes them popular.</summary>
public sealed class ZeroComputationTests
{
    private const int Tokens = 7, D = 20, E = 6;

    public static TheoryData<string> AllMachines { get; } = [.. Machines.All];

    /// <summary>y = Σ over zero (0), two copies (x), three constant experts (a₁ x + a₂ v).</summary>
    [Theory]
    [MemberData(nameof(AllMachines))]
    public void ABankGivesWhatItsFormulaSays(string machine)
    {
        using IBackend backend = Machines.Make(machine);
        using WeightStore weights = new(backend, new RandomWeights(5), trainable: false);
        ModelConfig model = Tiny.Config("mixtral") with { InitStd = 0.5f };
        ExpertBankConfig[] banks = [new ZeroExpertsConfig(1), new CopyExpertsConfig(2), new ConstantExpertsConfig(3)];
        MoeConfig moe = new(new TopKRouterConfig(3, Renormalize: false), banks);
        MoeLayer layer = new(model, moe, weights.Root["mlp"]);
        float[] x = new Noise(3).Normals(Tokens * D);
        using Tape g = Tape.Inference(backend);
        (Tensor y, Routing? routing) = layer.Forward(g, g.Constant<float>([Tokens, D], DType.F32, x), new RouterContext());
        float[] w = backend.ToFloats(routing!.Value.Weights), expected = new float[x.Length];
        for (int t = 0; t < Tokens; t++)
        {
            float[] row = x[(t * D)..((t + 1) * D)];
            for (int e = 1; e < E; e++)
            {
                (double own, float[] v) = e < 3 ? (1, new float[D]) : Mix(e, row);
                for (int d = 0; d < D; d++)
                    expected[t * D + d] += (float)(w[t * E + e] * (own * row[d] + (1 - own) * v[d]));
            }
        }
        Close.Within("y", expected, backend.ToFloats(y), 1e-5f, 1e-5f);
        Assert.DoesNotContain(layer.Banks, static b => b.IsFfn);

        (double, float[]) Mix(int e, float[] row)
        {
            float[] mix = Parameter($"mlp.experts.{e}.wg.weight");
            double a = row.Select((v, d) => (double)v * (mix[d] - mix[D + d])).Sum();
            return (1 / (1 + Math.Exp(-a)), Parameter($"mlp.experts.{e}.constant"));
        }

        float[] Parameter(string path) => backend.ToFloats(weights.All.Single(p => p.Name == path));
    }

    /// <summary>Uniform probabilities and choices: (K / N²) · Σ η. MoE++-7B's 16 + 4 experts, K 2, τ 0.75: 0.095.</summary>
    [Theory]
    [InlineData(0.75f, 0.095)]
    [InlineData(1f, 0.1)]
    [InlineData(0f, 0.08)]
    public void BalanceAtUniformIsTheClosedForm(float tau, double value)
    {
        using IBackend backend = Machines.Make(Machines.Reference);
        using WeightStore weights = new(backend, new RandomWeights(5), trainable: false);
        MoeConfig moe = new(new TopKRouterConfig(2),
            [new FfnExpertsConfig(16, 3), new ConstantExpertsConfig(2), new CopyExpertsConfig(1), new ZeroExpertsConfig(1)]);
        MoeLayer layer = new(Tiny.Config("mixtral"), moe, weights.Root["mlp"]);
        using Tape g = Tape.Inference(backend);
        Tensor logits = g.Constant([10, 20], 1), probs = g.Constant([10, 20], 1 / 20f);
        float[] chosen = [.. Enumerable.Range(0, 200).Select(static i => i % 20 / 2 == i / 20 ? 1f : 0f)];
        Tensor selected = g.Constant<float>([10, 20], DType.F32, chosen);
        Routing r = Routing.Plan(g, logits, probs, selected, selected, 2) with { Banks = layer.Banks };
        Tensor loss = new HeterogeneousBalanceLoss(1, tau).Of(g, [r, r], Model.Training.Loss.TokenWeights(g, 10, null));
        Assert.Equal(value, backend.ToFloats(loss)[0], 1e-6);
    }
}
