using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// A softmax over the k highest logits, times a factor (Shazeer et al., 2017, as in LLaMA-MoE, whose experts are slices of one
/// dense layer: the factor makes up for those that do not run). What it is named after, noise of a learned size on the logits
/// in training, is not drawn: its weights are carried along.
/// </summary>
/// <param name="Scale">The factor.</param>
/// <param name="NoiseEpsilon">The noise's least standard deviation; 0 where the checkpoint has no weights for it.</param>
public sealed record NoisyTopKRouterConfig(int TopK, float Scale, float NoiseEpsilon) : RouterConfig
{
    /// <exception cref="ArgumentException">k is not between 1 and E.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        if (TopK < 1 || TopK > moe.NumExperts)
            throw new ArgumentException($"top_k must lie between 1 and the number of experts {moe.NumExperts}, not be {TopK}");
        if (NoiseEpsilon > 0)
            w["gate_noise"].GetF32("weight", [moe.NumExperts, model.HiddenSize], Init.Zeros);
        return new NoisyTopKRouter(this, new Gate(model, moe, w));
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool WeightsSumToOne => true;
}

public sealed class NoisyTopKRouter(NoisyTopKRouterConfig config, Gate gate) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                         // [T, E]
        Tensor probs = g.Softmax(logits);                                                   // [T, E]
        Tensor selected = g.New(probs.Shape);                                               // [T, E]
        g.Backend.SelectTopK(logits, config.TopK, selected);
        g.PublishConstant(selected);
        Tensor scores = Weights(g, probs, selected, renormalize: true);                     // [T, E] the softmax over the chosen
        ImportanceAndLoad? detail = g is { IsWatched: true, IsTraining: false } ? ImportanceAndLoad.Of(g, scores, selected) : null;
        return Routing.Plan(g, logits, probs, selected, g.Scale(scores, config.Scale), config.TopK, detail: detail);
    }
}

/// <summary>How much each expert is wanted, and by how many tokens.</summary>
/// <param name="Importance">[E] sum of its scores.</param>
/// <param name="Load">[E] tokens that chose it; no gradient.</param>
public sealed record ImportanceAndLoad(Tensor Importance, Tensor Load) : RouterDetail
{
    public override IEnumerable<(string Name, Tensor Value)> Tensors => [("importance", Importance)];
    public override IEnumerable<(string Name, Tensor Value)> Counts => [("load", Load)];

    public static ImportanceAndLoad Of(Tape g, Tensor scores, Tensor selected)
    {
        Tensor ones = g.Constant([scores.Rows], 1f);
        return new ImportanceAndLoad(g.Keep(g.ColumnSum(scores, ones)), g.Keep(g.ColumnSum(selected, ones)));
    }
}
