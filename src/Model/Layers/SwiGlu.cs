using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>The dense feed-forward layer: y = down(silu(gate x) · up x) (Shazeer, 2020).</summary>
public sealed class SwiGlu(ModelConfig model, DenseConfig config, WeightScope w) : FeedForward
{
    private readonly Projection
        _gate = new(model, w["gate_proj"], config.IntermediateSize, model.HiddenSize, config.Bias),
        _up = new(model, w["up_proj"], config.IntermediateSize, model.HiddenSize, config.Bias),
        _down = new(model, w["down_proj"], model.HiddenSize, config.IntermediateSize, config.Bias);

    /// <param name="x">[T, D] → [T, D]</param>
    public Tensor Forward(Tape g, Tensor x) => _down.Forward(g, g.Gated<Silu>(_gate.Forward(g, x), _up.Forward(g, x)));

    public override (Tensor y, Routing? routing) Forward(Tape g, Tensor x, in RouterContext context) => (Forward(g, x), null);
}
