using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Layers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>
/// OpenMoE's experts, of three factors: (a · silu(b) · (x wi_up)) wo, [a, b] = x wi_gate. All of them lie in three tensors, the way
/// they are multiplied: <c>experts.wi_gate</c> [E, D, 2F], <c>experts.wi_up</c> [E, D, F], <c>experts.wo</c> [E, F, D].
/// </summary>
/// <param name="IntermediateSize">F</param>
public sealed record TwiceGatedExpertsConfig(int Count, int IntermediateSize) : ExpertBankConfig(Count)
{
    public override bool IsFfn => true;
    public override bool IsStacked => true;

    public override ExpertBank Build(ModelConfig model, WeightScope w, int first)
    {
        int f = IntermediateSize, d = model.HiddenSize;
        return new TwiceGatedExperts(this, first, Named("wi_gate", d, 2 * f), Named("wi_up", d, f), Named("wo", f, d));

        Tensor[] Named(string name, int rows, int cols) => Matrices(w["experts"].Get(name, [Count, rows, cols], Init.Normal(model.InitStd)), rows, cols);
    }
}

public sealed class TwiceGatedExperts(TwiceGatedExpertsConfig config, int first, Tensor[] gate, Tensor[] up, Tensor[] down) : FfnBank(config, first)
{
    protected override Tensor Compute(Tape g, Tensor rows, in Routing r)
    {
        SlotRange slots = Slots(r);
        Tensor h = TwiceGated.Product(g, g.GroupedLinear(rows, slots, gate, transposed: true), g.GroupedLinear(rows, slots, up, transposed: true));   // [S, F]
        return g.GroupedLinear(h, slots, down, transposed: true);                                                                                    // [S, D]
    }
}
