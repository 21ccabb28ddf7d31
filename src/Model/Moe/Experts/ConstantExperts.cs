using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>
/// Experts that mix their input with a learned vector: E(x) = a₁ x + a₂ v, [a₁, a₂] = softmax(W x), with v <c>constant</c> [D]
/// and W <c>wg.weight</c> [2, D] (MoE++, Jin et al., 2024).
/// </summary>
public sealed record ConstantExpertsConfig(int Count) : ExpertBankConfig(Count)
{
    public override ExpertBank Build(ModelConfig model, WeightScope w, int first)
    {
        Tensor[] mix = new Tensor[Count], constant = new Tensor[Count];
        for (int e = 0; e < Count; e++)
        {
            WeightScope expert = w["experts"][first + e];
            constant[e] = expert.GetF32("constant", [model.HiddenSize], Init.Normal(1));
            mix[e] = expert["wg"].Get("weight", [2, model.HiddenSize], Init.Normal(model.InitStd));
        }
        return new ConstantExperts(this, first, mix, constant);
    }
}

public sealed class ConstantExperts(ConstantExpertsConfig config, int first, Tensor[] mix, Tensor[] constant) : ExpertBank(config, first)
{
    public override Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto)
    {
        Tensor input = g.Constant<float>([1, 2], DType.F32, [1, 0]), vector = g.Constant<float>([1, 2], DType.F32, [0, 1]);
        for (int e = 0; e < Count; e++)
        {
            Tensor shares = g.ScaleRows(g.Softmax(g.Linear(x, mix[e])), WeightOf(g, r, e, 1));     // weight · [a₁, a₂]   [T, 2]
            onto = g.GiveUp(g.ScaleRows(x, g.Linear(shares, input), onto));
            onto = g.GiveUp(g.Outer(g.Linear(shares, vector), constant[e], onto));
        }
        return onto ?? g.Constant(x.Shape, 0);
    }
}
