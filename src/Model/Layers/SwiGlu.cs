using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>The dense feed-forward layer: y = down(silu(gate x) · up x) (Shazeer, 2020).</summary>
public sealed class SwiGlu(ModelConfig model, DenseConfig config, WeightScope w) : FeedForward
{
    private readonly Tensor _gate = w["gate_proj"].Get("weight", [config.IntermediateSize, model.HiddenSize], Init.Normal(model.InitStd));
    private readonly Tensor _up = w["up_proj"].Get("weight", [config.IntermediateSize, model.HiddenSize], Init.Normal(model.InitStd));
    private readonly Tensor _down = w["down_proj"].Get("weight", [model.HiddenSize, config.IntermediateSize], Init.Normal(model.InitStd));

    public override (Tensor y, Routing? routing) Forward(Tape g, Tensor x, in RouterContext context) =>
        (g.Linear(g.Gated<Silu>(g.Linear(x, _gate), g.Linear(x, _up)), _down), null);
}
