using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>Which neurons go where, and what the router's weights are times.</summary>
public sealed class SplitTests : IDisposable
{
    private static readonly SplitRouter Router = new(2, null, TwoMatrices: false);
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    /// <summary>The seed decides, and each layer by itself.</summary>
    [Theory]
    [InlineData("random")]
    [InlineData("clusters")]
    public void ALotIsTheSeeds(string way)
    {
        string dense = _shop.Tiny();
        UpcycleMethod Way(ulong seed) => way == "random" ? new RandomSplit(4, seed, Router) : new ClusterSplit(4, seed, Router);
        int[][] once = Experts(dense, Way(3), 0), again = Experts(dense, Way(3), 0), other = Experts(dense, Way(4), 0), above = Experts(dense, Way(3), 1);
        Assert.Equal(once, again);
        Assert.NotEqual(once, other);
        Assert.NotEqual(once, above);
        Assert.Equal(Enumerable.Range(0, 24), once.SelectMany(static e => e).Order());
    }

    /// <summary>Neurons that look in one direction are alike, however long their rows.</summary>
    [Fact]
    public void ClustersGoByDirection()
    {
        string dense = _shop.Tiny();
        Workshop.Rewrite(dense, static (name, i, w) => name.EndsWith("gate_proj.weight", StringComparison.Ordinal) ? Gate(i / 20, i % 20) : w);
        Assert.Equal(Enumerable.Range(0, 4), Experts(dense, new ClusterSplit(4, 1, Router), 1).Select(static e => Assert.Single(e.Select(static n => n % 4).Distinct())).Order());

        static float Gate(int neuron, int column) => (neuron / 4 % 2 == 0 ? 1 : 30) * column switch
        {
            0 => 1,
            1 => neuron % 2 == 0 ? 0.2f : -0.2f,
            2 => neuron / 2 % 2 == 0 ? 0.2f : -0.2f,
            _ => 0,
        };
    }

    /// <summary>E / (how many experts a neuron is in, on average): 3 / (30 / 24) where they overlap, 2 / (6 / 24) where they leave most out; or what is said.</summary>
    [Fact]
    public void TheScaleMakesUpForWhatDoesNotRun()
    {
        string dense = _shop.Tiny(), file = _shop["neurons.json"];
        File.WriteAllText(file, $"[[{List(0, 12)}, {List(6, 12)}, {List(0, 6)}], [{List(0, 3)}, {List(20, 3)}]]");
        Assert.Equal([2.4f, 8], Scales(Router));
        Assert.Equal([1.5f, 1.5f], Scales(Router with { Scale = 1.5f }));

        float[] Scales(SplitRouter router)
        {
            using DenseModel source = DenseModel.Load(dense, _shop.Backend);
            return [.. Enumerable.Range(0, 2).Select(layer => ((NoisyTopKRouterConfig)GivenSplit.Read(file, router).Divide(source, layer, []).Mixture.Router).Scale)];
        }

        static string List(int first, int count) => $"[{string.Join(',', Enumerable.Range(first, count))}]";
    }

    private int[][] Experts(string dense, UpcycleMethod way, int layer)
    {
        using DenseModel source = DenseModel.Load(dense, _shop.Backend);
        return [.. way.Divide(source, layer, []).Networks.Select(static n => n.Neurons.All.ToArray())];
    }
}
