using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>What makes up for outputs that are weighed and summed.</summary>
public enum Scaling
{
    /// <summary>
    /// The whole factor f, on up and down: twofold linear, so the mixture of a router that finds all alike is the dense layer. Up gets the
    /// power of two next to √f, down the rest.
    /// </summary>
    Exact,
    /// <summary>∛f on gate, up and down, as the paper writes it for squared ReLU; in a SwiGLU the gate is not linear, so it is near and no more.</summary>
    Paper,
    None,
}

/// <summary>
/// Virtual groups (He et al., 2024, arXiv 2410.07524): the layer is cut into G shards and each is copied E times. A router row is
/// drawn for each set of copies and stands there for all of its G shards, so that equals tie and the k best, k a multiple of G, hold each shard
/// equally often. Expert c·G + g is copy c of shard g: where all are alike, too, the first k are whole sets.
/// </summary>
/// <param name="copies">E</param>
/// <param name="granularity">G</param>
/// <param name="topK">k</param>
/// <param name="renormalize">Whether the weights of the chosen are made to sum to 1; the paper's do not.</param>
public sealed class VirtualGroups(int copies, int granularity, int topK, Scaling scaling, bool renormalize) : UpcycleMethod
{
    public override string Name => "groups";
    public override IReadOnlyList<RouterLoss> Losses(float? coefficient) => [new LoadBalanceLoss(coefficient ?? 0.01f)];

    public override Division Divide(DenseModel dense, int layer, IReadOnlyList<AddedExperts> added)
    {
        int width = Part(dense, layer, granularity, "--granularity"), experts = copies * granularity;
        RequireCount((long)copies * granularity, "--experts times --granularity");
        if (topK % granularity != 0)
            throw new ArgumentException($"--top-k {topK} is no multiple of --granularity {granularity}: a token's experts are whole sets of shards");
        int columns = experts + added.Where(static a => a.Kind != AddedExperts.Shared).Sum(static a => a.Count);
        (float, float, float) times = Times(columns);
        List<Network> networks = [.. Enumerable.Range(0, experts).Select(e =>
            new Network(Expert(e), Neurons.Run(Owner(layer, Expert(e)), e % granularity * width, width)) { Times = times })];
        return Mixture(dense, layer, [new FfnExpertsConfig(experts, width)], networks, added, width, all => new TopKRouterConfig(RequireTopK(topK, all), renormalize)) with
        {
            RouterRepeats = granularity,
            RepeatedRows = experts,
        };
    }

    /// <summary>
    /// Each shard is chosen k/G times with a weight of 1/columns each, or of 1/k: so much of the dense output is f times too little.
    /// </summary>
    private (float Gate, float Up, float Down) Times(int columns)
    {
        double factor = (double)granularity * (renormalize ? topK : columns) / topK;
        if (scaling == Scaling.None)
            return (1, 1, 1);
        if (scaling == Scaling.Paper)
            return ((float)Math.Cbrt(factor), (float)Math.Cbrt(factor), (float)Math.Cbrt(factor));
        double up = Math.Pow(2, Math.Round(Math.Log2(factor) / 2));
        return (1, (float)up, (float)(factor / up));
    }
}
