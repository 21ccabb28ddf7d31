using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>Experts that give back what they get: E(x) = x, so a bank of them scales each row once (MoE++, Jin et al., 2024).</summary>
public sealed record CopyExpertsConfig(int Count) : ExpertBankConfig(Count)
{
    public override ExpertBank Build(ModelConfig model, WeightScope w, int first) => new CopyExperts(this, first);
}

public sealed class CopyExperts(CopyExpertsConfig config, int first) : ExpertBank(config, first)
{
    public override Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto) => g.ScaleRows(x, WeightOf(g, r, 0, Count), onto);
}
