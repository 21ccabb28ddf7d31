using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>The nonlinearity of a network without a gate.</summary>
public enum Activation
{
    Relu,
    /// <summary>gelu by tanh, transformers' gelu_new.</summary>
    GeluTanh,
}

/// <summary>Experts that are networks without a gate: wo(f(wi x)), as in Switch and before.</summary>
/// <param name="IntermediateSize">F, the width of one expert.</param>
public sealed record MlpExpertsConfig(int Count, int IntermediateSize, Activation Activation = Activation.Relu) : ExpertBankConfig(Count)
{
    public override bool IsFfn => true;

    public override ExpertBank Build(ModelConfig model, WeightScope w, int first)
    {
        Init init = Init.Normal(model.InitStd);
        Tensor[] wi = new Tensor[Count], wo = new Tensor[Count];
        for (int e = 0; e < Count; e++)
        {
            WeightScope expert = w["experts"][first + e];
            wi[e] = expert["wi"].Get("weight", [IntermediateSize, model.HiddenSize], init);
            wo[e] = expert["wo"].Get("weight", [model.HiddenSize, IntermediateSize], init);
        }
        return new MlpExperts(this, first, wi, wo);
    }
}

public sealed class MlpExperts(MlpExpertsConfig config, int first, Tensor[] wi, Tensor[] wo) : FfnBank(config, first)
{
    protected override Tensor Compute(Tape g, Tensor rows, in Routing r)
    {
        SlotRange slots = Slots(r);
        Tensor h = g.GroupedLinear(rows, slots, wi);                                                                // [S, F]
        return g.GroupedLinear(config.Activation == Activation.Relu ? g.Unary<Relu>(h) : g.Unary<GeluTanh>(h), slots, wo);   // [S, D]
    }
}
