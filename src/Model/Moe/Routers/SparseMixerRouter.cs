using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// Two experts, one after the other, each weighted by its softmax over those near the best one that is left: an expert is out
/// of the band of the best score s when (s − s_e) / max(|s_e|, |s|) exceeds 2r, and the first choice is out of the second's. The
/// weights are not normalised against each other, and are 1 where nothing is near. The choice is the best one itself; in
/// training it is drawn from the band (PhiMoE, arXiv 2404.14219; SparseMixer-v2, Liu et al., 2024, arXiv 2409.12136).
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
    private const int ExponentialSite = 7, UniformSite = 9;   // and the ones after each, for the second choice

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                     // [T, E]
        (Tensor selected, Tensor weights) = context.Noise is { } noise                  // [T, E]
            ? Sample(g, logits, config.Jitter, Draws(logits, context.Layer, noise))
            : Best(g, logits);
        return Routing.Plan(g, logits, g.Softmax(logits), selected, weights, SparseMixerRouterConfig.TopK);
    }

    private (Tensor Selected, Tensor Weights) Best(Tape g, Tensor logits)
    {
        Tensor selected = g.New(logits.Shape);
        g.Backend.SelectTopK(logits, SparseMixerRouterConfig.TopK, selected);
        g.PublishConstant(selected);
        return (selected, g.BandSoftmax(logits, selected, 2 * config.Jitter));
    }

    /// <summary>
    /// The training form: of the share m of the drawn expert the value is φ m, φ = 1 for the band's likeliest, for others 1 with
    /// probability 1/4 and else 1/3, the gradient that of m (Heun's third-order method, by chance). A crossing to the host.
    /// </summary>
    /// <param name="draws">Of the first choice and of the second.</param>
    public static (Tensor Selected, Tensor Weights) Sample(Tape g, Tensor logits, float jitter, ReadOnlySpan<SparseMixerDraw> draws)
    {
        float[] scores = g.Backend.ToFloats(logits);
        bool[] taken = new bool[scores.Length];
        Tensor selected = g.Constant(logits.Shape, 0), weights = selected;
        foreach (SparseMixerDraw draw in draws)
        {
            float[] band = new float[scores.Length], chosen = new float[scores.Length], factor = new float[scores.Length];
            Array.Fill(factor, 1);
            for (int t = 0; t < logits.Rows; t++)
                Choose(t * logits.Cols, logits.Cols, t, draw, band, chosen, factor);
            Tensor one = Matrix(chosen), φ = Matrix(factor);
            Tensor share = g.Mul(SoftmaxOver(g, logits, Matrix(band)), one);                                    // m   [T, E]
            weights = g.Add(weights, g.ScaleGradient(g.Mul(share, φ), g.Unary<Reciprocal>(φ)));
            selected = g.Add(selected, one);
        }
        return (selected, weights);

        Tensor Matrix(float[] values) => g.Constant<float>(logits.Shape, DType.F32, values);

        void Choose(int row, int experts, int token, SparseMixerDraw draw, float[] band, float[] chosen, float[] factor)
        {
            const float Often = 0.75f, Third = 0.3333f;   // a third as the released code rounds it
            int best = -1, drawn = -1;
            for (int i = row; i < row + experts; i++)
                if (!taken[i] && (best < 0 || scores[i] > scores[best]))
                    best = i;
            for (int i = row; i < row + experts; i++)
            {
                if (taken[i] || (scores[best] - scores[i]) / Math.Max(Math.Abs(scores[i]), scores[best]) > 2 * jitter)
                    continue;
                band[i] = 1;
                if (drawn < 0 || Perturbed(i) > Perturbed(drawn))
                    drawn = i;
            }
            taken[drawn] = true;
            chosen[drawn] = 1;
            factor[drawn] = drawn == best || draw.Uniform[token] > Often ? 1 : Third;

            float Perturbed(int i) => scores[i] - MathF.Log(draw.Exponential[i]);   // the largest of them is a draw from the softmax
        }
    }

    private static SparseMixerDraw[] Draws(Tensor logits, int layer, (ulong Seed, long Pass) noise)
    {
        return [.. Enumerable.Range(0, SparseMixerRouterConfig.TopK).Select(choice => new SparseMixerDraw(
            Array.ConvertAll(Uniform(ExponentialSite + choice, logits.Count), static u => -MathF.Log(u)), Uniform(UniformSite + choice, logits.Rows)))];

        float[] Uniform(int site, long count)
        {
            CounterRandom random = CounterRandom.At(noise.Seed, noise.Pass, layer, site);
            return [.. Enumerable.Range(0, (int)count).Select(i => random.Uniform((ulong)i))];
        }
    }
}

/// <summary>The random numbers behind one choice of each token.</summary>
/// <param name="Exponential">[T · E] of the unit exponential distribution: which expert is drawn.</param>
/// <param name="Uniform">[T] between 0 and 1: whether its value is taken whole or by a third.</param>
public sealed record SparseMixerDraw(float[] Exponential, float[] Uniform);
