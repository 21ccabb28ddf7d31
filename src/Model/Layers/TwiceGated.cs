using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>OpenMoE's dense layer, of three factors: y = down(a · silu(b) · up x), [a; b] = gate x.</summary>
/// <param name="config">Its F is the width of a, b and up x.</param>
public sealed class TwiceGated(ModelConfig model, DenseConfig config, WeightScope w) : FeedForward
{
    private readonly Projection
        _gate = new(model, w["gate_proj"], 2 * config.IntermediateSize, model.HiddenSize, config.Bias),
        _up = new(model, w["up_proj"], config.IntermediateSize, model.HiddenSize, config.Bias),
        _down = new(model, w["down_proj"], model.HiddenSize, config.IntermediateSize, config.Bias);

    public override (Tensor y, Routing? routing) Forward(Tape g, Tensor x, in RouterContext context) =>
        (_down.Forward(g, Product(g, _gate.Forward(g, x), _up.Forward(g, x))), null);

    /// <summary>a · silu(b) · up.   gate [T, 2F] holds a and then b, up [T, F] → [T, F]</summary>
    internal static Tensor Product(Tape g, Tensor gate, Tensor up)
    {
        int f = up.Cols;
        HeadColumns all = new(1, f);
        Tensor a = g.Columns(gate, new HeadColumns(1, 2 * f), all, f), b = g.Columns(gate, new HeadColumns(1, 2 * f, f), all, f);
        return g.Gated<Silu>(b, g.Mul(a, up));
    }
}
