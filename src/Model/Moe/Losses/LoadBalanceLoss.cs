using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>What the shares of the balance loss are taken over.</summary>
public enum BalanceScope
{
    /// <summary>Each layer by itself, then the mean over layers (Switch, Dynamic-MoE).</summary>
    Layer,
    /// <summary>Each sequence of each layer by itself, then the mean over both (Switch in transformers).</summary>
    Sequence,
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

    /// <summary>Count what was dropped for expert 0, whoever was chosen: transformers' Switch, which reads its choices from what was kept.</summary>
    public bool DroppedCountForFirst { get; init; }

    /// <summary>Whether padding counts like tokens (OpenMoE's code).</summary>
    public bool PaddingCounts { get; init; }

    public override bool CountsPadding => PaddingCounts;

    public override string Name => "load_balance";

    public override bool IsPerLayer => Scope != BalanceScope.Model;

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights)
    {
        if (Scope == BalanceScope.Layer)
            return MeanOverLayers(g, routings, r => Balance(g, Shares(g, r, tokenWeights), g.ColumnSum(r.Probs, tokenWeights)));
        if (Scope == BalanceScope.Sequence)
            return MeanOverLayers(g, routings, r => MeanOverSequences(g, r, tokenWeights));
        Tensor f = Sum(g, routings, r => Shares(g, r, tokenWeights), 1f / routings.Count);                // [E]
        Tensor p = Sum(g, routings, r => g.ColumnSum(r.Probs, tokenWeights), 1f / routings.Count);        // [E]
        return Balance(g, f, p);
    }

    /// <summary>Each sequence's mean by the weights of its own tokens; one without weight does not count.</summary>
    private Tensor MeanOverSequences(Tape g, Routing r, Tensor tokenWeights)
    {
        float[] weights = g.Backend.ToFloats(tokenWeights);
        int[] table = r.Sequences is { } sequences ? g.Backend.ToInts(sequences) : [0, r.Tokens, 0, r.Tokens];
        Tensor? sum = null;
        int count = 0;
        foreach (int[] row in table.Chunk(4))
        {
            float total = weights.AsSpan(row[0], row[1]).ToArray().Sum();
            if (total == 0)
                continue;
            float[] own = [.. weights.Select((w, t) => t >= row[0] && t < row[0] + row[1] ? w / total : 0)];
            Tensor share = g.Constant<float>([own.Length], DType.F32, own);                               // [T]
            Tensor balance = Balance(g, Shares(g, r, share), g.ColumnSum(r.Probs, share));
            sum = sum is null ? balance : g.Add(sum, balance);
            count++;
        }
        return g.Scale(sum!, 1f / count);
    }

    /// <summary>[E] the share of tokens that selected each expert.</summary>
    private Tensor Shares(Tape g, Routing r, Tensor tokenWeights)
    {
        Tensor f = g.ColumnSum(DroppedCountForFirst ? r.Kept : r.Selected, tokenWeights);
        if (!DroppedCountForFirst)
            return f;
        float[] first = new float[r.NumExperts];
        first[0] = 1;
        Tensor all = g.RowSum(g.ColumnSum(r.Selected, tokenWeights)), kept = g.RowSum(f);                 // [1]
        return g.ScaleRows(g.Constant<float>([1, first.Length], DType.F32, first), g.Add(all, g.Scale(kept, -1)), onto: f);
    }

    private Tensor Balance(Tape g, Tensor f, Tensor p)
    {
        Tensor balance = g.Scale(g.RowDot(f, p), f.Cols);
        return PerChoice ? g.Mul(balance, g.Unary<Reciprocal>(g.RowSum(f))) : balance;
    }
}
