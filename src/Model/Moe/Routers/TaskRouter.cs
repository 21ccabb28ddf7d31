using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// Routing by task (Kudugunta et al., 2021, arXiv 2110.03742): a sequence's experts are those of its task, for all of its tokens,
/// softmax(W · embedding of the task) and of that the k highest. Experts that a task does not use need not be there for it: see
/// <see cref="Subnetwork.OfTask"/>. The embeddings are <c>task_embedding.weight</c> [tasks, D].
/// </summary>
/// <param name="Tasks">How many there are.</param>
/// <param name="TopK">k</param>
/// <param name="Renormalize">Divide the chosen probabilities by their sum.</param>
public sealed record TaskRouterConfig(int Tasks, int TopK = 2, bool Renormalize = true) : RouterConfig
{
    /// <exception cref="ArgumentException">No task, k not between 1 and E, or a gating residual, which goes by tokens.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        const int MaxTasks = 1 << 20;
        if (Tasks is < 1 or > MaxTasks || TopK < 1 || TopK > moe.NumExperts)
            throw new ArgumentException($"there are 1 to {MaxTasks} tasks, and top_k lies between 1 and the number of experts {moe.NumExperts}; they are not {Tasks} and {TopK}");
        if (Gate.Residual)
            throw new ArgumentException("a router by task has no gating residual");
        Tensor embedding = w["task_embedding"].GetF32("weight", [Tasks, model.HiddenSize], Init.Normal(1));
        return new TaskRouter(this, new Gate(model, moe, w), embedding);
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool WeightsSumToOne => Renormalize;
}

/// <param name="embedding">[N, D] of the tasks.</param>
public sealed class TaskRouter(TaskRouterConfig config, Gate gate, Tensor embedding) : Router
{
    /// <exception cref="ArgumentException">The batch names no tasks, or one that is none.</exception>
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor task = context.Task ?? throw new ArgumentException("the model routes by task, and the batch does not say which");
        Tensor logits = g.GatherRows(gate.Logits(g, embedding, context), task);     // [T, E] out of [N, E], all tasks, whatever the batch
        Tensor probs = g.Softmax(logits);                                           // [T, E]
        Tensor selected = g.New(probs.Shape);                                       // [T, E]
        g.Backend.SelectTopK(probs, config.TopK, selected);
        g.PublishConstant(selected);
        Tensor weights = Weights(g, probs, selected, config.Renormalize);           // [T, E]
        return Routing.Plan(g, logits, probs, selected, weights, config.TopK);
    }
}
