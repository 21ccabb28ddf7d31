using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// BASE (Lewis et al., 2021, arXiv 2103.16716): one expert per token. In training the choice is the assignment with the
/// largest sum of logits among those that give no expert more than ⌈T / E⌉ tokens, so exactly T / E where E divides T, and no
/// balance loss is needed; otherwise each token takes its highest logit. The weight is the sigmoid of the chosen logit.
/// </summary>
public sealed record BaseRouterConfig : RouterConfig
{
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) => new BaseRouter(new Gate(model, moe, w));

    public override int MaxExperts(int numExperts) => 1;
}

public sealed class BaseRouter(Gate gate) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, x, context);                                 // [T, E]
        Tensor selected;                                                            // [T, E]
        if (g.IsTraining)
            selected = Assigned(g, logits);
        else
        {
            selected = g.New(logits.Shape);
            g.Backend.SelectTopK(logits, 1, selected);
            g.PublishConstant(selected);
        }
        Tensor weights = g.Mul(g.Unary<Sigmoid>(logits), selected);                 // [T, E]
        return Routing.Plan(g, logits, g.Softmax(logits), selected, weights, maxExperts: 1);
    }

    /// <summary>A crossing to the host: the assignment looks at all tokens at once.</summary>
    private static Tensor Assigned(Tape g, Tensor logits)
    {
        int[] experts = BalancedAssignment.Solve(g.Backend.ToFloats(logits), logits.Cols);
        float[] mask = new float[logits.Count];
        for (int t = 0; t < experts.Length; t++)
            mask[t * logits.Cols + experts[t]] = 1;
        return g.Constant<float>(logits.Shape, DType.F32, mask);
    }
}
