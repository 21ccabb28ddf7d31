using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Peers;

/// <summary>Mixtral's top-2 with all its work, whose choice is decided beforehand: so much is added to the logits of the chosen that nothing else counts.</summary>
/// <param name="Logits">[T · E]</param>
internal sealed record PrescribedRouterConfig(float[] Logits) : RouterConfig
{
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) => new PrescribedRouter(new Gate(model, moe, w), Logits);
    public override int MaxExperts(int numExperts) => 2;
}

internal sealed class PrescribedRouter(Gate gate, float[] prescribed) : Router
{
    /// <summary>Two experts for each token, so that each expert gets its share of all choices, to one.</summary>
    public static float[] Logits(int tokens, ReadOnlySpan<double> shares)
    {
        const float Chosen = 50;
        float[] logits = new float[tokens * shares.Length];
        double[] owed = new double[shares.Length];
        for (int t = 0; t < tokens; t++)
        {
            for (int e = 0; e < owed.Length; e++)
                owed[e] += 2 * shares[e];
            foreach (int e in Enumerable.Range(0, owed.Length).OrderByDescending(e => owed[e]).Take(2).ToArray())
            {
                owed[e]--;
                logits[t * owed.Length + e] = Chosen;
            }
        }
        return logits;
    }

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor own = gate.Logits(g, x, context);                                                                  // [T, E]
        Tensor logits = g.Add(own, g.Constant<float>(own.Shape, DType.F32, prescribed)), probs = g.Softmax(logits);
        Tensor selected = g.New(probs.Shape);
        g.Backend.SelectTopK(probs, 2, selected);
        g.PublishConstant(selected);
        return Routing.Plan(g, logits, probs, selected, Weights(g, probs, selected, renormalize: true), 2);
    }
}
