using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>Decides which experts each token uses. One file per router, its config record beside it.</summary>
public abstract class Router
{
    /// <param name="x">[T, D] the normalised hidden states that also enter the experts.</param>
    public abstract Routing Route(Tape g, Tensor x, in RouterContext context);

    /// <summary>[E] what is added to scores for the choice alone, for whoever balances the load by it; null where a router has none.</summary>
    public virtual Tensor? SelectionBias => null;

    /// <summary>The chosen probabilities as combine weights: as they are, or divided by their sum.</summary>
    protected static Tensor Weights(Tape g, Tensor probs, Tensor selected, bool renormalize)
    {
        Tensor weights = g.Mul(probs, selected);                            // [T, E]
        return renormalize ? g.ScaleRows(weights, g.Unary<Reciprocal>(g.RowSum(weights))) : weights;
    }

    /// <summary>A softmax over the columns where the mask is 1, 0 elsewhere and in rows without any.</summary>
    protected static Tensor SoftmaxOver(Tape g, Tensor logits, Tensor mask) => g.Mul(g.Softmax(g.Hide(logits, mask)), mask);

    /// <summary>In training, each element times its own random factor from 1 − size to 1 + size.</summary>
    /// <param name="site">Tells the uses in a layer apart.</param>
    protected static Tensor Jittered(Tape g, Tensor x, float size, in RouterContext context, int site)
    {
        if (size == 0 || context.Noise is not var (seed, pass))
            return x;
        CounterRandom random = CounterRandom.At(seed, pass, context.Layer, site);
        float[] factors = new float[x.Count];
        for (int i = 0; i < factors.Length; i++)
            factors[i] = 1 + size * (2 * random.Uniform((ulong)i) - 1);
        return g.Mul(x, g.Constant<float>(x.Shape, DType.F32, factors));
    }

    /// <summary>[T, E] standard normal numbers in training; null where routing must not be random.</summary>
    protected static Tensor? Draws(Tape g, Shape shape, in RouterContext context, int site)
    {
        if (context.Noise is not var (seed, pass))
            return null;
        CounterRandom random = CounterRandom.At(seed, pass, context.Layer, site);
        float[] draws = new float[shape.Count];
        for (int i = 0; i < draws.Length; i++)
            draws[i] = random.Normal((ulong)i);
        return g.Constant<float>(shape, DType.F32, draws);
    }

    /// <summary>[T, E] the same row of constants for each token.</summary>
    protected static Tensor Rows(Tape g, int tokens, ReadOnlySpan<float> columns)
    {
        Tensor y = g.NewZeros([tokens, columns.Length]);
        g.Backend.Outer(null, g.Constant([columns.Length], DType.F32, columns), y);
        return g.PublishConstant(y);
    }
}

/// <summary>A router's settings; knows how to build it, so a new router is one new file.</summary>
public abstract record RouterConfig
{
    /// <summary>How its logits come about.</summary>
    public GateConfig Gate { get; init; } = new();

    /// <param name="moe">The layer the router belongs to.</param>
    /// <param name="w">The layer's scope, where a <see cref="Moe.Gate"/> finds its weights.</param>
    public abstract Router Build(ModelConfig model, MoeConfig moe, WeightScope w);

    /// <exception cref="ArgumentException">k is not between 1 and E.</exception>
    protected static void RequireTopK(int topK, MoeConfig moe)
    {
        if (topK < 1 || topK > moe.NumExperts)
            throw new ArgumentException($"top_k must lie between 1 and the number of experts {moe.NumExperts}, not be {topK}");
    }

    /// <summary>Whether it gives weights to shared experts among its columns.</summary>
    public virtual bool WeighsShared => false;

    /// <summary>The most experts that can be chosen for one token.</summary>
    public abstract int MaxExperts(int numExperts);

    /// <summary>
    /// Whether the weights of the chosen experts are made to sum to 1 by themselves. With one expert per token that weight
    /// is always 1, and the router would never learn: training refuses it.
    /// </summary>
    public virtual bool WeightsSumToOne => false;

    /// <summary>Whether nobody gets the weight of a choice that was dropped, so that it counts as one all the same, of an expert that gives nothing.</summary>
    public virtual bool DroppedKeepWeight => false;

    /// <summary>Whether tokens compete for room, so that what one gets outside training depends on which others share its pass.</summary>
    public virtual bool IsAcrossTokens => false;

    /// <summary>The fewest.</summary>
    public virtual int MinExperts(int numExperts) => MaxExperts(numExperts);
}

/// <summary>What a router may look at besides the tokens.</summary>
public readonly record struct RouterContext
{
    /// <summary>Index of the layer: tells the layers' random numbers apart.</summary>
    public int Layer { get; init; }

    /// <summary>Router logits of the MoE layer before this one [T, E], for gating residuals; null in the first.</summary>
    public Tensor? PreviousLogits { get; init; }

    /// <summary>[T] 1 for real tokens, 0 for padding; null when all are real.</summary>
    public Tensor? TokenMask { get; init; }

    /// <summary>[B · 4] which rows are one sequence, see <see cref="Batch.SequenceTable"/>; empty when all are.</summary>
    public ReadOnlyMemory<int> Sequences { get; init; }

    /// <summary>[T] I32 task of each token's sequence, for task-level routing.</summary>
    public Tensor? Task { get; init; }

    /// <summary>Whether routers that know how are to estimate what choosing another expert would have done to the loss; takes <see cref="Noise"/>.</summary>
    public bool EstimateChoice { get; init; }

    /// <summary>Seed of noise and jitter and the number of the training pass, which counts micro-batches; null where routing must not be random.</summary>
    public (ulong Seed, long Pass)? Noise { get; init; }
}
