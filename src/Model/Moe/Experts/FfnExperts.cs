using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Experts;

/// <summary>Experts that are SwiGLU networks: down(silu(gate x) · up x).</summary>
/// <param name="IntermediateSize">F, the width of one expert.</param>
public sealed record FfnExpertsConfig(int Count, int IntermediateSize) : ExpertBankConfig(Count)
{
    /// <summary>Whether gate and up are one matrix [2F, D], the gate first.</summary>
    public bool Fused { get; init; }

    /// <summary>Whether all experts lie in two tensors, <c>experts.input_linear</c> [E, 2F, D] and <c>experts.output_linear</c> [E, D, F] (Granite).</summary>
    public bool Stacked { get; init; }

    /// <summary>Whether they are shared experts, under <c>shared_experts.{e}</c>, counted from 0.</summary>
    public bool Shared { get; init; }

    public override bool IsFfn => !Shared;
    public override bool IsShared => Shared;
    public override bool IsStacked => Stacked;

    public override ExpertBank Build(ModelConfig model, WeightScope w, int first)
    {
        Tensor[] gate = new Tensor[Count], up = new Tensor[Count], down = new Tensor[Count];
        Init init = Init.Normal(model.InitStd);
        int f = IntermediateSize, d = model.HiddenSize;
        long matrix = (long)f * d;
        Tensor? inputs = Stacked ? w["experts"]["input_linear"].Get("weight", [Count, 2 * f, d], init) : null;
        Tensor? outputs = Stacked ? w["experts"]["output_linear"].Get("weight", [Count, d, f], init) : null;
        for (int e = 0; e < Count; e++)
        {
            WeightScope expert = Shared ? w["shared_experts"][e] : w["experts"][first + e];
            if (Stacked || Fused)
            {
                Tensor both = inputs?.Part([2 * f, d], e * 2 * matrix) ?? expert["up_proj"].Get("weight", [2 * f, d], init);
                (gate[e], up[e]) = (both.Part([f, d], 0), both.Part([f, d], matrix));
            }
            else
            {
                gate[e] = expert["gate_proj"].Get("weight", [f, d], init);
                up[e] = expert["up_proj"].Get("weight", [f, d], init);
            }
            down[e] = outputs?.Part([d, f], e * matrix) ?? expert["down_proj"].Get("weight", [d, f], init);
        }
        return new FfnExperts(this, first, [.. gate, .. up, .. down]);
    }
}

/// <param name="weights">Of all experts first the gates [F, D], then the ups [F, D], then the downs [D, F].</param>
public sealed class FfnExperts(FfnExpertsConfig config, int first, Tensor[] weights) : ExpertBank(config, first)
{
    public override Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto) =>
        g.GatedExperts<Silu>(x, new ExpertSlots(r.Token, r.Weight, Slots(r)), weights, onto, r.Detail?.GradientScale);   // [T, D]
}
