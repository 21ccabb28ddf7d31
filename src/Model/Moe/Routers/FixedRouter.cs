using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>Nothing to choose: all tokens use all experts, with the weights <c>gate.weight</c> [E]. What one task leaves of a <see cref="TaskRouterConfig"/>.</summary>
public sealed record FixedRouterConfig : RouterConfig
{
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) =>
        new FixedRouter(w["gate"].GetF32("weight", [moe.NumExperts], Init.Ones));

    public override int MaxExperts(int numExperts) => numExperts;
}

public sealed class FixedRouter(Tensor weight) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor weights = g.Outer(g.Constant([x.Rows], 1), weight);          // [T, E] stand in for probabilities too: there are none
        return Routing.Plan(g, weights, weights, g.Constant(weights.Shape, 1), weights, weight.Cols);
    }
}
