using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>Experts that are SwiGLU networks: down(silu(gate x) · up x).</summary>
/// <param name="IntermediateSize">F, the width of one expert.</param>
public sealed record FfnExpertsConfig(int Count, int IntermediateSize) : ExpertBankConfig(Count)
{
    public override ExpertBank Build(ModelConfig model, WeightScope w, int first)
    {
        Tensor[] gate = new Tensor[Count], up = new Tensor[Count], down = new Tensor[Count];
        for (int e = 0; e < Count; e++)
        {
            WeightScope expert = w["experts"][first + e];
            gate[e] = expert["gate_proj"].Get("weight", [IntermediateSize, model.HiddenSize], Init.Normal(model.InitStd));
            up[e] = expert["up_proj"].Get("weight", [IntermediateSize, model.HiddenSize], Init.Normal(model.InitStd));
            down[e] = expert["down_proj"].Get("weight", [model.HiddenSize, IntermediateSize], Init.Normal(model.InitStd));
        }
        return new FfnExperts(first, gate, up, down);
    }
}

public sealed class FfnExperts(int first, Tensor[] gate, Tensor[] up, Tensor[] down) : ExpertBank(first, gate.Length)
{
    public override bool IsFfn => true;

    public override Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto)
    {
        SlotRange slots = Slots(r);
        Tensor rows = g.GatherRows(x, r.Token, slots);                                                          // [S, D]
        Tensor h = g.Gated<Silu>(g.GroupedLinear(rows, slots, gate), g.GroupedLinear(rows, slots, up));         // [S, F]
        return g.Combine(g.GroupedLinear(h, slots, down), r.Weight, r.Token, slots, x.Rows, onto);              // [T, D]
    }
}
