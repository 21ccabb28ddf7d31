using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>Mean over tokens and layers of (ln Σ_e exp(logit_e))²: keeps router logits small (Zoph et al., 2022, ST-MoE).</summary>
public sealed record RouterZLoss(float Coefficient) : RouterLoss(Coefficient)
{
    /// <summary>Whether padding counts like tokens (OpenMoE's code).</summary>
    public bool PaddingCounts { get; init; }

    public override bool CountsPadding => PaddingCounts;

    public override string Name => "router_z";

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights) =>
        MeanOverLayers(g, routings, r => g.RowDot(g.Unary<Square>(g.LogSumExp(r.Logits)), tokenWeights));
}
