using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>DCMoE where all logits are 0: four experts of probability 1/4, one of them null, beside two shared ones.</summary>
public sealed class DcMoeTests
{
    /// <summary>The expert that makes the sum reach p is the last; of k near ties, the first gets 1/4, the next 1/3, …, before they are normalised.</summary>
    [Theory]
    [InlineData(0.5f, 0, 2)]
    [InlineData(0.51f, 0, 3)]
    [InlineData(0.25f, 0, 1)]
    [InlineData(1f, 0, 4)]
    [InlineData(0f, 3, 3)]
    public void TiesAreSharedInTurn(float topP, int topK, int chosen)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using WeightStore weights = new(backend, new RandomWeights(5), trainable: false);
        MoeConfig moe = new(new DcMoeRouterConfig(topP, topK), [new FfnExpertsConfig(3, 4), new ZeroExpertsConfig(1), new FfnExpertsConfig(2, 4) { Shared = true }]);
        Router router = moe.Router.Build(Tiny.Config("mixtral") with { InitStd = 0 }, moe, weights.Root["mlp"]);
        using Tape g = Tape.Inference(backend, keepAll: true);
        Routing r = router.Route(g, g.Constant([1, 20], 1), new RouterContext());

        double[] turn = [.. Enumerable.Range(0, 4).Select(i => i < chosen ? 1.0 / (4 - i) : 0)];
        double left = chosen / (chosen + 2.0);
        double[] expected = [.. turn.Select(t => t / turn.Sum() * left), 1 / (chosen + 2.0), 1 / (chosen + 2.0)];
        Assert.All(backend.ToFloats(r.Weights).Zip(expected), static w => Assert.Equal(w.Second, w.First, 1e-5));
        Assert.Equal([chosen], backend.ToFloats(((DcMoeDetail)r.Detail!).DynamicTopK));
    }
}
