using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// The k likeliest experts. Renormalised, their probabilities are divided by their sum, which equals a softmax over the
/// chosen logits alone (Mixtral, Jiang et al., 2024); raw, they are used as they are (OLMoE, Qwen2-MoE).
/// </summary>
/// <param name="TopK">k</param>
/// <param name="Renormalize">Mixtral: true.</param>
public sealed record TopKRouterConfig(int TopK, bool Renormalize = true) : RouterConfig
{
    /// <exception cref="ArgumentException">k is not between 1 and E.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        RequireTopK(TopK, moe);
        return new TopKRouter(this, new Gate(model, moe, w));
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool WeightsSumToOne => Renormalize;
}

public sealed class TopKRouter(TopKRouterConfig config, Gate gate) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                         // [T, E]
        Tensor probs = g.Softmax(logits);                                   // [T, E]
        Tensor selected = g.New(probs.Shape);                               // [T, E]
        g.Backend.SelectTopK(probs, config.TopK, selected);
        g.PublishConstant(selected);
        Tensor weights = Weights(g, probs, selected, config.Renormalize);   // [T, E]
        return Routing.Plan(g, logits, probs, selected, weights, config.TopK);
    }
}
