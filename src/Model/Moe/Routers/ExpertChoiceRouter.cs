using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// The experts choose: each takes the ⌈T · c / E⌉ tokens of the batch that are likeliest to want it, so every expert has the
/// same load and a token any number of experts, or none (Zhou et al., 2022, arXiv 2202.09368). Weights are the probabilities
/// as they are. Not causal: whether a token is taken depends on those after it, so such a model is no text generator.
/// </summary>
/// <param name="Factor">c, the mean number of experts per token.</param>
public sealed record ExpertChoiceRouterConfig(float Factor = 2) : RouterConfig
{
    /// <exception cref="ArgumentException">The factor is not above 0, or more than the number of experts.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) => Factor > 0 && Factor <= moe.NumExperts
        ? new ExpertChoiceRouter(this, new Gate(model, moe, w))
        : throw new ArgumentException($"a choice of {Factor} experts per token among {moe.NumExperts} is none");

    public override int MaxExperts(int numExperts) => numExperts;
    public override int MinExperts(int numExperts) => 0;
    public override bool IsAcrossTokens => true;
}

public sealed class ExpertChoiceRouter(ExpertChoiceRouterConfig config, Gate gate) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                         // [T, E]
        Tensor probs = g.Softmax(logits);                                                   // [T, E]
        int each = Math.Max(1, (int)Math.Ceiling((double)config.Factor * logits.Rows / logits.Cols));   // of T at most: c is E at most
        int[] room = new int[logits.Cols];
        Array.Fill(room, each);
        Tensor selected = g.New(probs.Shape);                                               // [T, E]
        g.Backend.SelectTokens(g.Constant(probs.Shape, 1), probs, room, selected);
        g.PublishConstant(selected);
        return Routing.Plan(g, logits, probs, selected, g.Mul(probs, selected), maxExperts: null, places: checked(each * logits.Cols));
    }
}
