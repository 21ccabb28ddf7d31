using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// Dynamic-capacity MoE (Uni-MoE 2, Li et al., 2025, arXiv 2511.12609), as its released code has it. Of the experts that are not
/// shared, null ones among them, the likeliest join until their probabilities sum to top_p or more. They are taken one by one,
/// each with its share among those within a band below it (SparseMixer), nearly always 1, so the chosen weigh nearly the same.
/// A softmax over chosen and shared experts then says how much the shared ones get and how much is left to the chosen together.
/// </summary>
/// <param name="TopP">p; the expert that makes the sum reach it is the last. 0 takes a fixed number instead.</param>
/// <param name="TopK">That number.</param>
public sealed record DcMoeRouterConfig(float TopP, int TopK = 0) : RouterConfig
{
    /// <summary>r: experts are near each other when their relative distance is at most 2r.</summary>
    public float Jitter { get; init; } = 0.01f;

    /// <summary>In training, the router sees its input times a random factor from 1 − this to 1 + this.</summary>
    public float InputJitter { get; init; }

    /// <summary>The experts' room; null drops nothing.</summary>
    public CapacityConfig? Capacity { get; init; }

    /// <exception cref="ArgumentException">p, r or the input's jitter is negative or no number, or k is not between 1 and the experts to choose from.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        if (!(TopP >= 0) || !(Jitter >= 0) || !(InputJitter >= 0))
            throw new ArgumentException($"top_p and jitters must be at least 0, not {TopP}, {Jitter} and {InputJitter}");
        int dynamic = moe.Banks.Where(static b => !b.IsShared).Sum(static b => b.Count);
        if (dynamic == 0 || (TopP == 0 && (TopK < 1 || TopK > dynamic)))
            throw new ArgumentException($"with top_p 0, top_k must lie between 1 and the number of experts to choose from {dynamic}, not be {TopK}");
        return new DcMoeRouter(this, moe, new Gate(model, moe, w));
    }

    public override bool WeighsShared => true;
    public override int MaxExperts(int numExperts) => TopP > 0 ? numExperts : TopK;
    public override bool IsAcrossTokens => Capacity is not null;

    public override int MinExperts(int numExperts) => TopP > 0 ? 1 : TopK;
}

/// <summary>What only this router knows.</summary>
/// <param name="DynamicTopK">[T] how many experts each token wanted, before any was dropped.</param>
/// <param name="OutputScale">[S] of the gradient's estimator; null without.</param>
public sealed record DcMoeDetail(Tensor DynamicTopK, Tensor? OutputScale) : RouterDetail
{
    public override Tensor? GradientScale => OutputScale;

    public override IEnumerable<(string Name, Tensor Value)> Counts => [("dynamic_top_k", DynamicTopK)];
}

public sealed class DcMoeRouter(DcMoeRouterConfig config, MoeConfig moe, Gate gate) : Router
{
    private const int JitterSite = 1, EstimateSite = 2;

    private readonly float[] _dynamic = moe.Columns(static b => b.IsShared ? 0 : 1), _shared = moe.Columns(static b => b.IsShared ? 1 : 0);
    private readonly bool[] _estimated = Array.ConvertAll(moe.Columns(static b => b.IsFfn ? 1 : 0), static c => c > 0);
    private readonly Capacity? _capacity = config.Capacity is null ? null : new Capacity(config.Capacity, moe);
    private readonly int _slotsPerToken = config.TopP > 0 ? moe.NumExperts : config.TopK + moe.Banks.Where(static b => b.IsShared).Sum(static b => b.Count);

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, Jittered(g, x, config.InputJitter, context, JitterSite), context); // [T, E]
        Tensor dynamic = Rows(g, x.Rows, _dynamic), shared = Rows(g, x.Rows, _shared);     // [T, E]
        Tensor candidates = g.Hide(logits, dynamic), probs = g.Softmax(candidates);        // [T, E]
        Tensor wanted = Select(g, candidates, probs, dynamic);                             // [T, E]
        Tensor chosen = context.TokenMask is { } mask ? g.ScaleRows(wanted, mask) : wanted;

        Tensor shares = Normalized(g, g.BandSoftmax(candidates, chosen, 2 * config.Jitter));
        Tensor selected = g.Add(chosen, shared), kept = selected;
        int? places = null;
        if (_capacity is not null)
        {
            kept = _capacity.Keep(g, selected, logits, context, _slotsPerToken, out int room);
            places = room;
            shares = Normalized(g, g.Mul(shares, kept));
        }
        Tensor mix = SoftmaxOver(g, logits, kept);                                         // [T, E]
        Tensor left = g.RowSum(g.Mul(mix, dynamic));                                       // [T] what the chosen get together
        Tensor weights = g.Add(g.ScaleRows(shares, left), g.Mul(mix, shared));             // [T, E]
        Tensor? outputScale = null;
        if (context is { EstimateChoice: true, Noise: var (seed, step) })
            (weights, outputScale) = Estimate(g, weights, candidates, CounterRandom.At(seed, step, context.Layer, EstimateSite));
        Routing r = Routing.Plan(g, logits, probs, selected, weights, config.TopP > 0 ? null : _slotsPerToken, kept, places: places);
        return !g.IsWatched ? r : r with
        {
            Detail = new DcMoeDetail(
                g.Keep(g.RowSum(wanted)), outputScale is null ? null : g.Keep(g.GatherSlots(outputScale, r.Token, r.Expert, r.Offsets))),
        };
    }

    /// <summary>
    /// The paper's estimator (its Algorithm 1, after GRIN, Liu et al., 2024, arXiv 2409.12136): of the output o of a chosen network the
    /// value is φ o, φ = 1 for the likeliest expert and else 1 or 1/3 with probabilities 5/8 and 3/8 (Heun's third-order method, by
    /// chance), the gradient that of 2 o. So weights become φ w, with the gradient of 2 w, and outputs get 2/φ times theirs.
    /// </summary>
    private (Tensor Weights, Tensor OutputScale) Estimate(Tape g, Tensor weights, Tensor candidates, CounterRandom random)
    {
        const float Often = 5f / 8;
        float[] rest = new float[weights.Count];   // 1 − φ, were no expert the likeliest
        for (int i = 0; i < rest.Length; i++)
            rest[i] = _estimated[i % _estimated.Length] && random.Uniform((ulong)i) >= Often ? 2f / 3 : 0;
        Tensor likeliest = g.New(weights.Shape), one = g.Constant(weights.Shape, 1);
        g.Backend.SelectTopK(candidates, 1, likeliest);
        Tensor others = g.Add(one, g.Scale(g.PublishConstant(likeliest), -1));
        Tensor factor = g.Add(one, g.Scale(g.Mul(others, g.Constant<float>(weights.Shape, DType.F32, rest)), -1));      // φ
        Tensor twice = Rows(g, weights.Rows, Array.ConvertAll(_estimated, static e => e ? 2f : 1f));
        Tensor scale = g.Mul(twice, g.Unary<Reciprocal>(factor));                                                       // 2/φ
        return (g.ScaleGradient(g.Mul(weights, factor), scale), scale);
    }

    private Tensor Select(Tape g, Tensor candidates, Tensor probs, Tensor dynamic)
    {
        Tensor taken = g.New(probs.Shape);
        if (config.TopP > 0)
            g.Backend.SelectTopP(probs, new TopPRule(config.TopP, Strict: false), taken);
        else
            g.Backend.SelectTopK(candidates, config.TopK, taken);
        return g.Mul(g.PublishConstant(taken), dynamic);   // a p of 1 and more takes all there are
    }

    /// <summary>Each row by its sum; rows of zeros stay.</summary>
    private static Tensor Normalized(Tape g, Tensor weights)
    {
        const float Eps = 1e-6f;
        Tensor sum = g.Add(g.RowSum(weights), g.Constant([weights.Rows], Eps));
        return g.ScaleRows(weights, g.Unary<Reciprocal>(sum));
    }
}
