using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// The two highest logits, each weighted by its softmax over those it only just beat: an expert is out of the band of the
/// chosen score s when (s − s_e) / max(|s_e|, |s|) exceeds 2r, and the first choice is out of the second's. The weights are not
/// normalised against each other, and are 1 where nothing is near (PhiMoE, arXiv 2404.14219; SparseMixer, Liu et al., 2023,
/// without its sampling in training).
/// </summary>
/// <param name="Jitter">r</param>
public sealed record SparseMixerRouterConfig(float Jitter) : RouterConfig
{
    public const int TopK = 2;

    /// <exception cref="ArgumentException">Fewer than two experts, or a jitter that is negative or no number.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) => moe.NumExperts >= TopK && Jitter >= 0
        ? new SparseMixerRouter(this, new Gate(model, moe, w))
        : throw new ArgumentException($"a sparse mixer takes at least {TopK} experts and a jitter of at least 0, not {moe.NumExperts} and {Jitter}");

    public override int MaxExperts(int numExperts) => TopK;
}

public sealed class SparseMixerRouter(SparseMixerRouterConfig config, Gate gate) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                     // [T, E]
        Tensor selected = g.New(logits.Shape);                                          // [T, E]
        g.Backend.SelectTopK(logits, SparseMixerRouterConfig.TopK, selected);
        g.PublishConstant(selected);
        Tensor weights = g.BandSoftmax(logits, selected, 2 * config.Jitter);            // [T, E]
        return Routing.Plan(g, logits, g.Softmax(logits), selected, weights, SparseMixerRouterConfig.TopK);
    }
}
