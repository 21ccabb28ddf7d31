using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>
/// Mean over tokens and layers of −Σ_e p_e ln p_e over the full router distribution, Dynamic-MoE's "dynamic loss": without
/// it, Top-P routers flatten their distribution and spread each token over ever more experts (Huang et al., 2024).
/// </summary>
public sealed record RouterEntropyLoss(float Coefficient) : RouterLoss(Coefficient)
{
    public override string Name => "router_entropy";

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights) =>
        MeanOverLayers(g, routings, r => g.RowDot(g.RowSum(g.Unary<EntropyTerm>(r.Probs)), tokenWeights));
}
