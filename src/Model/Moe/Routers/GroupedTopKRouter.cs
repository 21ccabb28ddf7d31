using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>What a router makes of its logits.</summary>
public enum RouterScores
{
    /// <summary>They compete: a softmax over all experts (DeepSeek-V2).</summary>
    Softmax,
    /// <summary>Each by itself (DeepSeek-V3).</summary>
    Sigmoid,
}

/// <summary>
/// The k best experts of the best groups (DeepSeek-V2, arXiv 2405.04434; DeepSeek-V3, arXiv 2412.19437). The experts form groups of
/// equally many, one after the other; a group's score is the sum of its best scores, and in groups that are not taken every score
/// counts as 0. With a selection bias, the choice goes by score + bias and the weights by the scores alone, so that a load can be
/// balanced without a loss (arXiv 2408.15664).
/// </summary>
/// <param name="TopK">k</param>
public sealed record GroupedTopKRouterConfig(int TopK) : RouterConfig
{
    public RouterScores Scores { get; init; }

    /// <summary>Whether there is a bias for the choice, <c>gate.e_score_correction_bias</c> [E]: stored, and without gradient.</summary>
    public bool SelectionBias { get; init; }

    /// <summary>Into how many groups the experts are divided.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>How many groups a token may choose from.</summary>
    public int TopGroups { get; init; } = 1;

    /// <summary>How many of its best scores a group is judged by: 1 is their maximum (DeepSeek-V2), 2 DeepSeek-V3's rule.</summary>
    public int GroupBest { get; init; } = 1;

    /// <summary>Whether the weights are divided by their sum before they are scaled.</summary>
    public bool Renormalize { get; init; }

    /// <summary>Factor on the weights.</summary>
    public float Scale { get; init; } = 1;

    /// <exception cref="ArgumentException">The groups do not divide the experts, or there are too few to choose from.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        int experts = moe.NumExperts;
        if (Groups < 1 || experts % Groups != 0 || TopGroups < 1 || TopGroups > Groups || GroupBest < 1 || GroupBest > experts / Groups)
            throw new ArgumentException($"{experts} experts cannot form {Groups} groups judged by their best {GroupBest}, of which {TopGroups} are taken");
        if (TopK < 1 || TopK > experts / Groups * TopGroups)
            throw new ArgumentException($"top_k must lie between 1 and the {experts / Groups * TopGroups} experts to choose from, not be {TopK}");
        if (!float.IsFinite(Scale))
            throw new ArgumentException("a factor on the weights is finite");
        return new GroupedTopKRouter(this, new Gate(model, moe, w), SelectionBias ? w["gate"].GetBuffer("e_score_correction_bias", [experts], Init.Zeros) : null);
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool WeightsSumToOne => Renormalize;
}

/// <summary>The scores before any bias, [T, E]: DeepSeek-V3's have no other name.</summary>
public sealed record GroupedTopKDetail(Tensor Scores) : RouterDetail
{
    public override IEnumerable<(string Name, Tensor Value)> Tensors => [("scores", Scores)];
}

public sealed class GroupedTopKRouter(GroupedTopKRouterConfig config, Gate gate, Tensor? selectionBias) : Router
{
    private const float Tiny = 1e-20f;   // where all scores are 0, so are the weights

    public override Tensor? SelectionBias => selectionBias;

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                             // [T, E]
        Tensor scores = config.Scores == RouterScores.Softmax ? g.Softmax(logits) : g.Unary<Sigmoid>(logits);
        Tensor open = OpenGroups(g, Biased(g, scores));                                         // [T, E]
        Tensor selected = g.New(scores.Shape);                                                  // [T, E]
        g.Backend.SelectTopK(open, config.TopK, selected);
        g.PublishConstant(selected);
        Tensor weights = g.Mul(scores, selected);                                               // [T, E]
        if (config.Renormalize)
            weights = g.ScaleRows(weights, g.Unary<Reciprocal>(g.Add(g.RowSum(weights), g.Constant([x.Rows], Tiny))));
        if (config.Scale != 1)
            weights = g.Scale(weights, config.Scale);
        if (config.Scores == RouterScores.Softmax)
            return Routing.Plan(g, logits, scores, selected, weights, config.TopK);
        // For losses on probabilities: scores over their sum, as in DeepSeek-V3's sequence-wise balance.
        Tensor probs = g.ScaleRows(scores, g.Unary<Reciprocal>(g.Add(g.RowSum(scores), g.Constant([x.Rows], Tiny))));
        return Routing.Plan(g, logits, probs, selected, weights, config.TopK, detail: g.IsWatched ? new GroupedTopKDetail(g.Keep(scores)) : null);
    }

    /// <summary>What the choice goes by; no gradient.</summary>
    private Tensor Biased(Tape g, Tensor scores)
    {
        if (selectionBias is null)
            return scores;
        Tensor biased = g.NewFrom(scores, scores.Shape);
        g.Backend.Outer(null, selectionBias, biased);
        return g.PublishConstant(biased);
    }

    /// <summary>The scores, 0 in the groups that are not taken; no gradient.</summary>
    private Tensor OpenGroups(Tape g, Tensor scores)
    {
        if (config.TopGroups == config.Groups)
            return scores;
        Shape perToken = [scores.Rows, config.Groups], perGroup = [scores.Rows * config.Groups, scores.Cols / config.Groups];
        Tensor each = g.New(perGroup), best = g.New(perGroup), judged = g.NewZeros(perToken), taken = g.New(perToken);
        Tensor opened = g.NewZeros(perGroup), open = g.New(scores.Shape);
        g.Backend.Copy(scores, each);                                       // [T·G, E/G]
        g.Backend.SelectTopK(each, config.GroupBest, best);                 // [T·G, E/G]
        g.Backend.RowDot(each, best, judged);                               // [T, G]
        g.Backend.SelectTopK(judged, config.TopGroups, taken);              // [T, G]
        g.Backend.ScaleRows(each, taken, opened);                           // [T·G, E/G]
        g.Backend.Copy(opened, open);                                       // [T, E]
        foreach (Tensor draft in (ReadOnlySpan<Tensor>)[each, best, judged, taken, opened])
            g.PublishConstant(draft);
        return g.PublishConstant(open);
    }
}
