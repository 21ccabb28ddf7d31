using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>
/// gpt-oss's experts: down((clip(up x) + 1) · swish(min(gate x, 7))) with biases, clip to ± 7 and swish(g) = g · σ(1.702 g). All
/// experts lie in four tensors, stored [in, out], the columns of gate and up in turns: <c>experts.gate_up_proj</c> [E, D, 2F],
/// <c>experts.gate_up_proj_bias</c> [E, 2F], <c>experts.down_proj</c> [E, F, D] and <c>experts.down_proj_bias</c> [E, D].
/// </summary>
/// <param name="IntermediateSize">F, the width of one expert.</param>
public sealed record ClampedExpertsConfig(int Count, int IntermediateSize) : ExpertBankConfig(Count)
{
    public override bool IsFfn => true;
    public override bool IsStacked => true;

    public override ExpertBank Build(ModelConfig model, WeightScope w, int first)
    {
        WeightScope experts = w["experts"];
        Init init = Init.Normal(model.InitStd);
        int f = IntermediateSize, d = model.HiddenSize;
        return new ClampedExperts(this, first,
            Matrices(experts.Get("gate_up_proj", [Count, d, 2 * f], init), d, 2 * f), Matrices(experts.Get("gate_up_proj_bias", [Count, 2 * f], Init.Zeros), 1, 2 * f),
            Matrices(experts.Get("down_proj", [Count, f, d], init), f, d), Matrices(experts.Get("down_proj_bias", [Count, d], Init.Zeros), 1, d));
    }
}

public sealed class ClampedExperts(ClampedExpertsConfig config, int first, Tensor[] gateUp, Tensor[] gateUpBias, Tensor[] down, Tensor[] downBias)
    : FfnBank(config, first)
{
    protected override Tensor Compute(Tape g, Tensor rows, in Routing r)
    {
        SlotRange slots = Slots(r);
        int f = config.IntermediateSize;
        Tensor ones = g.Constant([rows.Rows, 1], 1);                                                            // a bias is a matrix [1, N]
        Tensor both = g.Add(g.GroupedLinear(rows, slots, gateUp, true), g.GroupedLinear(ones, slots, gateUpBias, true));    // [S, 2F]
        Tensor gate = g.Columns(both, new HeadColumns(f, 2, 0), new HeadColumns(f, 1), 1);                      // [S, F]
        Tensor up = g.Columns(both, new HeadColumns(f, 2, 1), new HeadColumns(f, 1), 1);                        // [S, F]
        Tensor h = g.Gated<CappedSwish>(gate, g.Unary<ClippedPlusOne>(up));
        return g.Add(g.GroupedLinear(h, slots, down, true), g.GroupedLinear(ones, slots, downBias, true));      // [S, D]
    }
}
