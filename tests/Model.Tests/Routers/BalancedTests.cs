using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Routers that give every expert the same load: BASE and expert choice.</summary>
public sealed class BalancedTests
{
    private const int Tokens = 24, Experts = 6;

    [Theory]
    [InlineData(8, 2)]
    [InlineData(8, 4)]
    [InlineData(8, 8)]
    [InlineData(7, 3)]
    [InlineData(5, 4)]
    [InlineData(3, 5)]
    [InlineData(6, 1)]
    public void TheAssignmentIsTheBestOfAll(int tokens, int experts)
    {
        for (ulong seed = 1; seed <= 40; seed++)
        {
            Noise noise = new(seed);
            bool ties = seed % 2 == 0;
            float[] scores = [.. Enumerable.Range(0, tokens * experts).Select(i => ties ? noise.Below(3, i) : noise.Normal(i))];
            int[] found = BalancedAssignment.Solve(scores, experts);
            int room = (tokens + experts - 1) / experts;
            Assert.All(found.CountBy(static e => e), e => Assert.InRange(e.Value, 1, room));
            double sum = found.Index().Sum(f => (double)scores[f.Index * experts + f.Item]);
            Assert.Equal(Best(scores, experts, 0, new int[experts], room), sum, 9);
        }
    }

    /// <summary>Many tokens: exactly balanced, and no exchange of two tokens, nor a ring of three experts, is any better.</summary>
    [Fact]
    public void ALargeAssignmentCannotBeImproved()
    {
        const int Many = 600, Few = 12;
        Noise noise = new(9);
        float[] scores = [.. Enumerable.Range(0, Many * Few).Select(i => noise.Normal(i) + (i % Few == 3 ? 2 : 0))];    // everybody wants expert 3
        int[] found = BalancedAssignment.Solve(scores, Few);
        Assert.All(found.CountBy(static e => e), static e => Assert.Equal(Many / Few, e.Value));
        double[,] move = new double[Few, Few];
        for (int a = 0; a < Few; a++)
            for (int b = 0; b < Few; b++)
                move[a, b] = Enumerable.Range(0, Many).Where(t => found[t] == a).Max(t => (double)scores[t * Few + b] - scores[t * Few + a]);
        for (int a = 0; a < Few; a++)
            for (int b = 0; b < Few; b++)
                for (int c = 0; c < Few; c++)
                    Assert.True(move[a, b] + (c == a ? move[b, a] : move[b, c] + move[c, a]) <= 1e-9);
    }

    [Fact]
    public void BaseBalancesInTrainingAndIsGreedyOtherwise()
    {
        (float[] logits, float[] selected, float[] weights) = Route(new BaseRouterConfig(), training: true);
        Assert.All(Enumerable.Range(0, Experts), e => Assert.Equal(Tokens / Experts, Enumerable.Range(0, Tokens).Sum(t => selected[t * Experts + e])));
        for (int i = 0; i < logits.Length; i++)
            Assert.Equal(selected[i] / (1 + Math.Exp(-logits[i])), weights[i], 1e-6);

        (logits, selected, _) = Route(new BaseRouterConfig(), training: false);
        for (int t = 0; t < Tokens; t++)
        {
            float[] row = logits[(t * Experts)..((t + 1) * Experts)];
            Assert.Equal(row.IndexOf(row.Max()), selected.AsSpan(t * Experts, Experts).IndexOf(1f));
        }
    }

    [Theory]
    [InlineData(1f, 4)]
    [InlineData(2f, 8)]
    [InlineData(1.3f, 6)]    // 5.2, rounded up
    [InlineData(6f, 24)]
    public void EachExpertChoosesAsManyTokens(float factor, int each)
    {
        (float[] logits, float[] selected, float[] weights) = Route(new ExpertChoiceRouterConfig(factor), training: true);
        for (int e = 0; e < Experts; e++)
        {
            double[] probs = [.. Enumerable.Range(0, Tokens).Select(t => Prob(logits, t, e))];
            double least = probs.OrderDescending().ElementAt(each - 1);
            for (int t = 0; t < Tokens; t++)
            {
                Assert.Equal(probs[t] >= least ? 1 : 0, selected[t * Experts + e]);
                Assert.Equal(selected[t * Experts + e] * probs[t], weights[t * Experts + e], 1e-6);
            }
        }
    }

    [Fact]
    public void ImpossibleChoicesAreRefused()
    {
        Assert.Throws<ArgumentException>(() => Route(new ExpertChoiceRouterConfig(0), training: true));
        Assert.Throws<ArgumentException>(() => Route(new ExpertChoiceRouterConfig(7), training: true));
        Assert.Throws<ArithmeticException>(() => BalancedAssignment.Solve([1, float.NaN], 2));
    }

    private static (float[] Logits, float[] Selected, float[] Weights) Route(RouterConfig config, bool training)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        ModelConfig model = Tiny.Config("dynamic-moe");
        MoeConfig moe = new(config, [new FfnExpertsConfig(Experts, 5)]);
        using WeightStore weights = new(backend, new RandomWeights(4), trainable: true);
        Router router = config.Build(model, moe, weights.Root);
        using Tape g = training ? Tape.Training(backend) : Tape.Inference(backend);
        Noise noise = new(3);
        Tensor x = g.Constant<float>([Tokens, model.HiddenSize], DType.F32, [.. Enumerable.Range(0, Tokens * model.HiddenSize).Select(i => noise.Normal(i) + 0.5f)]);
        Routing r = router.Route(g, x, new RouterContext());
        return (backend.ToFloats(r.Logits), backend.ToFloats(r.Selected), backend.ToFloats(r.Weights));
    }

    private static double Prob(float[] logits, int token, int expert) =>
        1 / Enumerable.Range(0, Experts).Sum(e => Math.Exp(logits[token * Experts + e] - (double)logits[token * Experts + expert]));

    private static double Best(float[] scores, int experts, int token, int[] load, int room)
    {
        if (token * experts == scores.Length)
            return 0;
        double best = double.NegativeInfinity;
        for (int e = 0; e < experts; e++)
            if (load[e] < room)
            {
                load[e]++;
                best = Math.Max(best, scores[token * experts + e] + Best(scores, experts, token + 1, load, room));
                load[e]--;
            }
        return best;
    }
}
