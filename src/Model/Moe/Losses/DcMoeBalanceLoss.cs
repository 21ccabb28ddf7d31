using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>
/// Uni-MoE 2's balance: E · Σ_e f_e P_e over the E experts that the router chooses from, mean over layers; f_e the share of
/// tokens that selected e (before dropping, no gradient), P_e the mean of a softmax over each token's <em>selected</em> logits
/// alone. Padding counts, with f = 0 and P = 1 / E, unless tokens have weights, which take padding out (as the released code).
/// </summary>
public sealed record DcMoeBalanceLoss(float Coefficient) : RouterLoss(Coefficient)
{
    public override string Name => "dcmoe_balance";

    public override bool CountsPadding => true;

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights) => MeanOverLayers(g, routings, r =>
    {
        float[] columns = [.. r.Banks.SelectMany(static b => Enumerable.Repeat(b.IsShared ? 0f : 1f, b.Count))];
        float experts = columns.Sum();
        Tensor row = g.Constant<float>([columns.Length], DType.F32, columns);
        Tensor dynamic = g.Outer(g.Constant([r.Tokens], 1), row), chosen = g.Mul(r.Selected, dynamic);                  // [T, E]
        Tensor nothing = g.Unary<Relu>(g.Add(g.Constant([r.Tokens], 1), g.Scale(g.RowSum(chosen), -1)));                // [T] 1 where none was
        Tensor probs = g.Mul(g.Softmax(g.Hide(r.Logits, chosen)), chosen);                                              // [T, E]
        probs = g.Outer(nothing, g.Scale(row, 1 / experts), onto: probs);
        return g.Scale(g.RowDot(g.ColumnSum(chosen, tokenWeights), g.ColumnSum(probs, tokenWeights)), experts);
    });
}
