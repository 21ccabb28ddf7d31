using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>How many experts a token gets, and what their weights sum to.</summary>
/// <param name="TopP">A threshold instead of the number; null for the number.</param>
/// <param name="Renormalize">Whether the weights are made to sum to 1.</param>
public sealed record CopyRouter(int TopK, float? TopP, bool Renormalize);

/// <summary>
/// Sparse upcycling (Komatsuzaki et al., 2022, arXiv 2212.05055): every expert is the whole dense layer. Where the weights of the
/// chosen sum to 1 the mixture computes what the layer computed, whatever its router says.
/// </summary>
public sealed class PlainCopy(int experts, CopyRouter router) : UpcycleMethod
{
    public override string Name => "copy";
    public override IReadOnlyList<string> Families => ["mixtral"];

    public override IReadOnlyList<RouterLoss> Losses(float? coefficient) => router.TopP is null
        ? [new LoadBalanceLoss(coefficient ?? 0.01f, BalanceScope.Model)]
        : [new LoadBalanceLoss(coefficient ?? 0.01f), new RouterEntropyLoss(1e-4f)];

    public override Division Divide(DenseModel dense, int layer, IReadOnlyList<AddedExperts> added)
    {
        RequireCount(experts, "--experts");
        int width = dense.Width(layer);
        List<Network> networks = [.. Enumerable.Range(0, experts).Select(e => new Network(Expert(e), Neurons.Run(Owner(layer, Expert(e)), 0, width)))];
        return Mixture(dense, layer, [new FfnExpertsConfig(experts, width)], networks, added, width, columns => router.TopP is { } p
            ? new TopPRouterConfig(p, Renormalize: router.Renormalize)
            : new TopKRouterConfig(RequireTopK(router.TopK, columns), router.Renormalize));
    }
}
