using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>
/// Σ over layers of weight · (CV²(importance) + CV²(load)), with CV²(v) = var v / ((mean v)² + 1e-10) over the experts, its
/// variance the one with E − 1 (Shazeer et al., 2017, as in LLaMA-MoE): evenness by the sums of the scores and by the
/// number of tokens, or what noisy routers expect it to be. Every row counts, padding too, as in the released code, and the weight is inside.
/// </summary>
public sealed record ImportanceLoadLoss(float Weight) : RouterLoss(1)
{
    private const float Eps = 1e-10f;

    public override string Name => "importance_load";

    public override bool CountsPadding => true;

    public override Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights) => Sum(g, routings, r =>
    {
        ImportanceAndLoad of = r.Detail as ImportanceAndLoad ?? ImportanceAndLoad.Of(g, r.Weights, r.Selected);
        return g.Add(SquaredVariation(g, of.Importance), SquaredVariation(g, of.Load));
    }, Weight);

    /// <summary>CV² of a vector [E] → [1]; 0 for a single expert.</summary>
    private static Tensor SquaredVariation(Tape g, Tensor v)
    {
        int experts = v.Cols;
        if (experts == 1)
            return g.Constant([1], 0f);
        float[] centring = new float[experts * experts];   // I − 1/E: differences before squares, so that nothing cancels
        for (int i = 0; i < centring.Length; i++)
            centring[i] = (i % (experts + 1) == 0 ? 1 : 0) - 1f / experts;
        Tensor c = g.Linear(v, g.Constant<float>([experts, experts], DType.F32, centring));      // [1, E]
        Tensor variance = g.Scale(g.RowDot(c, c), 1f / (experts - 1));                           // [1]
        Tensor mean = g.Scale(g.RowSum(v), 1f / experts);                                        // [1]
        return g.Mul(variance, g.Unary<Reciprocal>(g.Add(g.Unary<Square>(mean), g.Constant([1], Eps))));
    }
}
