using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>What MoE++ weighs its chosen experts with.</summary>
public enum MoePlusPlusGating
{
    /// <summary>The probabilities as they are: the paper.</summary>
    Raw,
    /// <summary>Those of zero experts are taken as 0, then all are divided by their sum: a token with a zero expert gives all to its others.</summary>
    WithoutZero,
    /// <summary>A softmax over the chosen logits; a zero expert takes its share and adds nothing.</summary>
    Mixtral,
}

/// <summary>
/// MoE++ (Jin et al., 2024, arXiv 2410.07348): top-k over feed-forward and zero-computation experts alike. Its logits come
/// from a <see cref="Gate"/>, with a residual from the layer before.
/// </summary>
/// <param name="TopK">K</param>
public sealed record MoePlusPlusRouterConfig(int TopK = 2, MoePlusPlusGating Gating = MoePlusPlusGating.Raw) : RouterConfig
{
    /// <summary>With a value above 0, each token's logits are scaled to this standard deviation (divisor E − 1) before they are used.</summary>
    public float LogitsStd { get; init; }

    /// <summary>The experts' room; null drops nothing, as the released code.</summary>
    public CapacityConfig? Capacity { get; init; }

    /// <exception cref="ArgumentException">k is not between 1 and E, or the deviation is no number from 0 or has too few experts.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        RequireTopK(TopK, moe);
        if (!(LogitsStd >= 0) || (LogitsStd > 0 && moe.NumExperts < 2))
            throw new ArgumentException($"logits of {moe.NumExperts} experts cannot have the standard deviation {LogitsStd}");
        return new MoePlusPlusRouter(this, moe, new Gate(model, moe, w));
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool IsAcrossTokens => Capacity is not null;
    public override bool DroppedKeepWeight => true;
    public override bool WeightsSumToOne => Gating != MoePlusPlusGating.Raw;
}

public sealed class MoePlusPlusRouter(MoePlusPlusRouterConfig config, MoeConfig moe, Gate gate) : Router
{
    private readonly float[] _notZero = moe.Columns(static b => b is ZeroExpertsConfig ? 0 : 1);
    private readonly Capacity? _capacity = config.Capacity is null ? null : new Capacity(config.Capacity, moe);

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                             // [T, E]
        Tensor scores = config.LogitsStd > 0 ? Standardized(g, logits) : logits;                // [T, E]
        Tensor probs = g.Softmax(scores);                                                       // [T, E]
        Tensor selected = g.New(probs.Shape);                                                   // [T, E]
        g.Backend.SelectTopK(scores, config.TopK, selected);
        g.PublishConstant(selected);
        Tensor weights = config.Gating switch                                                   // [T, E]
        {
            MoePlusPlusGating.Raw => g.Mul(probs, selected),
            MoePlusPlusGating.Mixtral => SoftmaxOver(g, scores, selected),
            _ => SoftmaxOver(g, scores, g.Mul(selected, Rows(g, x.Rows, _notZero))),
        };
        if (_capacity is null)
            return Routing.Plan(g, logits, probs, selected, weights, config.TopK);
        Tensor kept = _capacity.Keep(g, selected, logits, context, config.TopK, out int places);
        return Routing.Plan(g, logits, probs, selected, g.Mul(weights, kept), config.TopK, kept, places: places);
    }

    /// <summary>The logits less their mean, which no softmax sees, at the wanted deviation: rms over E, times √((E − 1) / E).</summary>
    private Tensor Standardized(Tape g, Tensor logits)
    {
        const float Eps = 1e-20f;   // all equal: 0 instead of 0 / 0
        int experts = logits.Cols;
        Tensor mean = g.Scale(g.RowSum(logits), -1f / experts);                                 // −mean   [T]
        Tensor centered = g.ScaleRows(g.Constant(logits.Shape, 1), mean, logits);               // [T, E]
        float scale = config.LogitsStd * MathF.Sqrt((experts - 1f) / experts);
        return g.RmsNorm(centered, g.Constant([experts], scale), Eps);
    }
}
