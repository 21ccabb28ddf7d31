using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Losses;

/// <summary>
/// An auxiliary loss on what the routers returned: a pure function of the routings and the tokens' weights, so no module
/// remembers a batch. Means over tokens (z, entropy) are the same however a step is cut into micro-batches; products of means
/// (balance, CV²) are each micro-batch's own, and a step takes their mean.
/// </summary>
/// <param name="Coefficient">Its factor in the total loss.</param>
public abstract record RouterLoss(float Coefficient)
{
    /// <summary>Key in logs: "load_balance", "router_z", "router_entropy".</summary>
    public abstract string Name { get; }

    /// <summary>Whether padding counts like tokens, where nobody says what each token counts.</summary>
    public virtual bool CountsPadding => false;

    /// <summary>Whether it is the mean of a value per layer.</summary>
    public virtual bool IsPerLayer => true;

    /// <summary>The loss without its coefficient, a scalar [1].</summary>
    /// <param name="routings">Of the mixture layers, in order; at least one.</param>
    /// <param name="tokenWeights">[T] what each token counts; they sum to 1, and padding counts 0.</param>
    public abstract Tensor Of(Tape g, IReadOnlyList<Routing> routings, Tensor tokenWeights);

    /// <summary>Mean over the layers of a scalar per layer.</summary>
    protected static Tensor MeanOverLayers(Tape g, IReadOnlyList<Routing> routings, Func<Routing, Tensor> perLayer) =>
        Sum(g, routings, perLayer, 1f / routings.Count);

    /// <summary>scale · Σ over the layers of a tensor per layer.</summary>
    protected static Tensor Sum(Tape g, IReadOnlyList<Routing> routings, Func<Routing, Tensor> perLayer, float scale)
    {
        Tensor sum = perLayer(routings[0]);
        for (int i = 1; i < routings.Count; i++)
            sum = g.Add(sum, perLayer(routings[i]));
        return g.Scale(sum, scale);
    }
}
