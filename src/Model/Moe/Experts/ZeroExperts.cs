using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>Experts that give nothing and cost nothing: E(x) = 0. MoE++'s zero experts, DCMoE's null experts.</summary>
public sealed record ZeroExpertsConfig(int Count) : ExpertBankConfig(Count)
{
    public override ExpertBank Build(ModelConfig model, WeightScope w, int first) => new ZeroExperts(this, first);
}

public sealed class ZeroExperts(ZeroExpertsConfig config, int first) : ExpertBank(config, first)
{
    public override Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto) => onto ?? g.Constant(x.Shape, 0);
}
