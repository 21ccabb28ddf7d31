using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>What the shares of the balance loss are taken over.</summary>
public enum BalanceScope
{
    /// <summary>Each layer by itself, then the mean over layers (Switch, Dynamic-MoE).</summary>
    Layer,
    /// <summary>All layers' tokens concatenated, as transformers' load_balancing_loss_func does for Mixtral and its kin.</summary>
    Model,
}

/// <summary>
/// Load balance: E · Σ_e f_e P_e, with f_e the share of tokens that selected expert e (before dropping, no gradient) and
/// P_e the mean probability of e (Fedus et al., 2021). f sums to the experts per token k, so the value is k when balanced, as
/// in transformers and Dynamic-MoE, and 1 with <see cref="PerChoice"/>, as in MegaBlocks; for Switch's k = 1 both are the same,
/// and everybody on one expert gives E.
/// </summary>
public sealed record LoadBalanceLoss(float Coefficient, BalanceScope Scope = BalanceScope.Layer) : RouterLoss(Coefficient)
{
    /// <summary>Whether f is the share of the choices, not of the tokens: divided by the mean experts per token.</summary>
    public bool PerChoice { get; init; }

    public override string Name => "load_balance";

    public override bool IsPerLayer => Scope == BalanceScope.Layer;

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights)
    {
        if (Scope == BalanceScope.Layer)
            return MeanOverLayers(g, routings, r => Balance(g, g.ColumnSum(r.Selected, tokenWeights), g.ColumnSum(r.Probs, tokenWeights)));
        Tensor f = Sum(g, routings, r => g.ColumnSum(r.Selected, tokenWeights), 1f / routings.Count);     // [E]
        Tensor p = Sum(g, routings, r => g.ColumnSum(r.Probs, tokenWeights), 1f / routings.Count);        // [E]
        return Balance(g, f, p);
    }

    private Tensor Balance(Tape g, Tensor f, Tensor p)
    {
        Tensor balance = g.Scale(g.RowDot(f, p), f.Cols);
        return PerChoice ? g.Mul(balance, g.Unary<Reciprocal>(g.RowSum(f))) : balance;
    }
}
