using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Layers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>
/// A SwiGLU that every token uses, beside the routed experts: no row of the router, no slots, so a bank of 0 experts to route to.
/// Gated, it is multiplied by σ(shared_expert_gate · x), one number per token (Qwen2-MoE).
/// </summary>
/// <param name="IntermediateSize">F, its own width.</param>
public sealed record SharedExpertConfig(int IntermediateSize, bool Gated) : ExpertBankConfig(0)
{
    public override ExpertBank Build(ModelConfig model, WeightScope w, int first) => new SharedExpert(
        this,
        first,
        new SwiGlu(model, new DenseConfig(IntermediateSize), w["shared_expert"]),
        Gated ? new Projection(model, w["shared_expert_gate"], 1, model.HiddenSize, bias: false) : null);
}

public sealed class SharedExpert(SharedExpertConfig config, int first, SwiGlu expert, Projection? gate) : ExpertBank(config, first)
{
    public override Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto)
    {
        Tensor y = expert.Forward(g, x);                                        // [T, D]
        if (gate is not null)
            y = g.ScaleRows(y, g.Unary<Sigmoid>(gate.Forward(g, x)));           // [T, D]
        return onto is null ? y : g.Add(onto, y);
    }
}
