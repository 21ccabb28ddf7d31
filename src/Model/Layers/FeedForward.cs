using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>The feed-forward slot of a block. A dense layer is a mixture of experts with nothing to route.</summary>
public abstract class FeedForward
{
    /// <param name="x">[T, D]</param>
    /// <returns>y [T, D], and the routing where there was one.</returns>
    public abstract (Tensor y, Routing? routing) Forward(Tape g, Tensor x, in RouterContext context);

    /// <summary>One without experts, of the kind that its config says.</summary>
    public static FeedForward Dense(ModelConfig model, DenseConfig config, WeightScope w) =>
        config.TwiceGated ? new TwiceGated(model, config, w) : new SwiGlu(model, config, w);
}
