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
        {
            Tensor[] sequences = WeightsOfSequences(g, routings[0], tokenWeights);
            return MeanOverLayers(g, routings, r => MeanOverSequences(g, r, sequences));
        }
        Tensor f = Sum(g, routings, r => Shares(g, r, tokenWeights), 1f / routings.Count);                // [E]
        Tensor p = Sum(g, routings, r => g.ColumnSum(r.Probs, tokenWeights), 1f / routings.Count);        // [E]
        return Balance(g, f, p);
    }

    /// <summary>[T] for each sequence, what its own tokens count, 1 together; one without weight is left out. A crossing to the host, for all layers.</summary>
    private static Tensor[] WeightsOfSequences(Tape g, Routing any, Tensor tokenWeights)
    {
        float[] weights = g.Backend.ToFloats(tokenWeights);
        List<Tensor> shares = [];
        int[] table = any.Sequences.IsEmpty ? [0, any.Tokens, 0, any.Tokens] : any.Sequences.ToArray();
        foreach (int[] row in table.Chunk(4))
        {
            float total = weights.AsSpan(row[0], row[1]).ToArray().Sum();
            if (total == 0)
                continue;
            float[] own = [.. weights.Select((w, t) => t >= row[0] && t < row[0] + row[1] ? w / total : 0)];
            shares.Add(g.Constant<float>([own.Length], DType.F32, own));
        }
        return [.. shares];
    }

    private Tensor MeanOverSequences(Tape g, Routing r, Tensor[] sequences)
    {
        Tensor? sum = null;
        foreach (Tensor share in sequences)
        {
            Tensor balance = Balance(g, Shares(g, r, share), g.ColumnSum(r.Probs, share));
            sum = sum is null ? balance : g.Add(sum, balance);
        }
        return g.Scale(sum!, 1f / sequences.Length);
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
