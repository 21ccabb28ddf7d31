using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>What is compared with the (k+1)-th highest noisy logit to tell whether an expert is in, when its load is estimated.</summary>
public enum LoadRule
{
    /// <summary>Its noisy logit: the paper.</summary>
    NoisyLogit,
    /// <summary>The noise on it alone: LLaMA-MoE's released code.</summary>
    NoiseAlone,
}

/// <summary>
/// A softmax over the k highest logits, times a factor (Shazeer et al., 2017, arXiv 1701.06538; in LLaMA-MoE experts are slices
/// of one dense layer, and the factor makes up for those that do not run). In training the logits carry noise of a learned size,
/// H(x) = G(x) + N(0, 1) · (softplus(W_noise x) + ε), and an expert's load is its probability of being among the k were its noise
/// drawn again, Φ((G(x) − threshold) / deviation), summed over tokens: a count with a gradient.
/// </summary>
/// <param name="Scale">The factor.</param>
/// <param name="NoiseEpsilon">ε, the noise's least standard deviation; 0 for no noise and no weights for it.</param>
public sealed record NoisyTopKRouterConfig(int TopK, float Scale = 1, float NoiseEpsilon = 0.01f) : RouterConfig
{
    public LoadRule LoadRule { get; init; }

    /// <exception cref="ArgumentException">k is not between 1 and E, or ε is negative or no number.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        RequireTopK(TopK, moe);
        if (!(NoiseEpsilon >= 0))
            throw new ArgumentException($"noise has a deviation of at least 0, not {NoiseEpsilon}");
        Gate gate = new(model, moe, w);
        return new NoisyTopKRouter(this, gate, NoiseEpsilon > 0 ? w["gate_noise"].GetF32("weight", [moe.NumExperts, model.HiddenSize], Init.Zeros) : null);
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool WeightsSumToOne => true;
}

/// <param name="noiseWeight">W_noise [E, D]; null without noise.</param>
public sealed class NoisyTopKRouter(NoisyTopKRouterConfig config, Gate gate, Tensor? noiseWeight) : Router
{
    private const int NoiseSite = 3;

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor clean = gate.Logits(g, x, context);                                          // [T, E]
        return noiseWeight is not null && Draws(g, clean.Shape, context, NoiseSite) is { } draws
            ? Noisy(g, clean, Deviation(g, x), draws)
            : Plan(g, clean, chance: null);
    }

    /// <summary>softplus(W_noise x) + ε   [T, E]</summary>
    internal Tensor Deviation(Tape g, Tensor x)
    {
        Tensor deviation = g.Unary<Softplus>(g.Linear(x, noiseWeight!));
        return g.Add(deviation, g.Constant(deviation.Shape, config.NoiseEpsilon));
    }

    /// <param name="draws">[T, E] of the standard normal distribution.</param>
    internal Routing Noisy(Tape g, Tensor clean, Tensor deviation, Tensor draws)
    {
        Tensor noise = g.Mul(draws, deviation), noisy = g.Add(clean, noise);                // [T, E]
        int k = config.TopK;
        if (k == clean.Cols)
            return Plan(g, noisy, chance: null);    // nobody can be out
        Tensor least = Ranked(g, noisy, k - 1), next = Ranked(g, noisy, k);                 // [T] what one who is out must beat, and one who is in
        Tensor isIn = Above(g, config.LoadRule == LoadRule.NoisyLogit ? noisy : noise, next);
        Tensor threshold = g.ScaleRows(isIn, next, onto: g.ScaleRows(Not(g, isIn), least)); // [T, E]
        Tensor distance = g.Mul(g.Add(clean, g.Scale(threshold, -1)), g.Unary<Reciprocal>(deviation));
        return Plan(g, noisy, g.Unary<NormalCdf>(distance));
    }

    /// <summary>[T, E] 1 where an element is above its row's bound.</summary>
    internal static Tensor Above(Tape g, Tensor x, Tensor bound)
    {
        Tensor over = g.ScaleRows(g.Constant(x.Shape, -1), bound, onto: x), above = g.NewZeros(x.Shape);
        g.Backend.UnaryGrad<Relu>(over, g.Constant(x.Shape, 1), above);     // relu's slope: 1 above 0, else 0
        return g.PublishConstant(above);
    }

    /// <param name="logits">The choice goes by them.</param>
    /// <param name="chance">[T, E] what each token adds to each load; null to count those who chose it.</param>
    private Routing Plan(Tape g, Tensor logits, Tensor? chance)
    {
        Tensor probs = g.Softmax(logits);                                                   // [T, E]
        Tensor selected = Top(g, logits, config.TopK);                                      // [T, E]
        Tensor scores = Weights(g, probs, selected, renormalize: true);                     // [T, E] the softmax over the chosen
        ImportanceAndLoad? detail = g.IsWatched ? ImportanceAndLoad.Of(g, scores, chance ?? selected) : null;
        return Routing.Plan(g, logits, probs, selected, g.Scale(scores, config.Scale), config.TopK, detail: detail);
    }

    /// <summary>[T] each row's value of a rank, 0 the highest; the gradient is its own.</summary>
    private static Tensor Ranked(Tape g, Tensor logits, int rank) =>
        g.RowSum(g.Mul(logits, g.Add(Top(g, logits, rank + 1), g.Scale(Top(g, logits, rank), -1))));

    private static Tensor Top(Tape g, Tensor logits, int k)
    {
        Tensor selected = g.New(logits.Shape);                                              // [T, E]
        g.Backend.SelectTopK(logits, k, selected);
        return g.PublishConstant(selected);
    }

    private static Tensor Not(Tape g, Tensor mask) => g.Add(g.Constant(mask.Shape, 1), g.Scale(mask, -1));
}

/// <summary>How much each expert is wanted, and by how many tokens.</summary>
/// <param name="Importance">[E] sum of its scores.</param>
/// <param name="Load">[E] tokens that chose it, without gradient; with noise, what their number is expected to be.</param>
public sealed record ImportanceAndLoad(Tensor Importance, Tensor Load) : RouterDetail
{
    public override IEnumerable<(string Name, Tensor Value)> Tensors => [("importance", Importance)];
    public override IEnumerable<(string Name, Tensor Value)> Counts => [("load", Load)];

    /// <param name="taken">[T, E] what each token adds to each load.</param>
    public static ImportanceAndLoad Of(Tape g, Tensor scores, Tensor taken)
    {
        Tensor ones = g.Constant([scores.Rows], 1f);
        return new ImportanceAndLoad(g.Keep(g.ColumnSum(scores, ones)), g.Keep(g.ColumnSum(taken, ones)));
    }
}
