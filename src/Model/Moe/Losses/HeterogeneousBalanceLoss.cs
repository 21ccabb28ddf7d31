using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>
/// Σ_e η_e f_e P_e, mean over layers: η = 1 for feed-forward experts, τ for zero-computation ones, 0 for shared ones, which
/// nobody chooses; f the share of tokens that selected e (before dropping, no gradient), P its mean probability. Below 1, τ
/// makes the cheap experts the popular ones (MoE++, Jin et al., 2024; without the factor E of <see cref="LoadBalanceLoss"/>).
/// </summary>
/// <param name="Tau">τ</param>
public sealed record HeterogeneousBalanceLoss(float Coefficient, float Tau) : RouterLoss(Coefficient)
{
    public override string Name => "heterogeneous_balance";

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights) =>
        MeanOverLayers(g, routings, r => g.RowDot(
            g.Mul(g.ColumnSum(r.Selected, tokenWeights), g.Constant<float>([r.NumExperts], DType.F32, Eta(r.Banks))),
            g.ColumnSum(r.Probs, tokenWeights)));

    private float[] Eta(IReadOnlyList<ExpertBank> banks) =>
        [.. banks.SelectMany(b => Enumerable.Repeat(b.IsFfn ? 1 : b.IsShared ? 0 : Tau, b.Count))];
}
