using System.Globalization;
using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model;

/// <summary>Models that are parts of others.</summary>
public static class Subnetwork
{
    /// <summary>
    /// What one task uses of a model that routes by task: its experts alone, with the weights that the router gives them, and
    /// nothing left to choose or to name. What it computes is, bit for bit, what the whole model computes for that task. It is a
    /// <c>moe_from_scratch</c> model of its own, can be saved, and outlives the whole.
    /// </summary>
    /// <param name="trainable">Whether its parameters collect gradients.</param>
    /// <exception cref="ArgumentException">The model does not route by task, has no such task, or keeps all experts of a layer in one tensor.</exception>
    public static LanguageModel OfTask(LanguageModel model, int task, bool trainable = false)
    {
        Dictionary<int, (int[] Experts, float[] Weights)> chosen = [];
        List<FeedForwardConfig> layers = [.. model.Config.Layers];
        foreach ((int i, FeedForwardConfig layer) in model.Config.Layers.Index())
            if (layer is MoeConfig { Router: TaskRouterConfig router } moe)
            {
                if (task < 0 || task >= router.Tasks)
                    throw new ArgumentException($"layer {i} knows the tasks 0 to {router.Tasks - 1}, not {task}");
                chosen[i] = Choice(model, i, task);
                layers[i] = moe with { Router = new FixedRouterConfig(), Banks = Banks(moe.Banks, chosen[i].Experts) };
            }
        if (chosen.Count == 0)
            throw new ArgumentException("no layer of the model routes by task");
        ModelConfig config = model.Config with { Layers = layers, RouterLosses = [] };
        return LanguageModel.Create(model.Backend, new FromScratch(), config, new Source(model, chosen), trainable, model.Tokenizer, model.Folder);
    }

    private static (int[] Experts, float[] Weights) Choice(LanguageModel model, int layer, int task)
    {
        using Tape g = Tape.Inference(model.Backend, keepAll: true);
        RouterContext context = new() { Layer = layer, Task = g.Constant<int>([1], DType.I32, [task]) };
        Routing r = ((MoeLayer)model.Transformer.Blocks[layer].FeedForward).Router.Route(g, g.Constant([1, model.Config.HiddenSize], 0f), context);
        float[] selected = model.Backend.ToFloats(r.Selected), weights = model.Backend.ToFloats(r.Weights);
        int[] experts = [.. Enumerable.Range(0, selected.Length).Where(e => selected[e] > 0)];
        return (experts, [.. experts.Select(e => weights[e])]);
    }

    /// <summary>The banks with the chosen experts alone, in their order; what has no experts to choose stays.</summary>
    private static List<ExpertBankConfig> Banks(IReadOnlyList<ExpertBankConfig> banks, int[] experts)
    {
        List<ExpertBankConfig> kept = [];
        int first = 0;
        foreach (ExpertBankConfig bank in banks)
        {
            int count = experts.Count(e => e >= first && e < first + bank.Count);
            if (count > 0 || bank.Count == 0)
                kept.Add(bank with { Count = count });
            first += bank.Count;
        }
        return kept;
    }

    /// <summary>The whole model's parameters and buffers, its experts by their new numbers.</summary>
    private sealed class Source(LanguageModel whole, Dictionary<int, (int[] Experts, float[] Weights)> chosen) : IWeightSource
    {
        private readonly Dictionary<string, Tensor> _all = whole.Weights.All.Concat(whole.Weights.Buffers).ToDictionary(static p => p.Name!);

        public Tensor Get(string path, Shape shape, Init init)
        {
            string[] parts = path.Split('.');   // model.layers.3.mlp.experts.1.up_proj.weight
            if (parts is not ["model", "layers", var layer, "mlp", ..] || !chosen.TryGetValue(int.Parse(layer, CultureInfo.InvariantCulture), out (int[] Experts, float[] Weights) choice))
                return whole.Weights.Stored(_all[path]);
            if (parts[4] == "gate")
            {
                Tensor weights = new(shape, DType.F32, new NativeStorage(shape.Count * sizeof(float)));
                choice.Weights.CopyTo(weights.Floats);
                return weights;
            }
            if (parts[4] == "experts")
                parts[5] = int.TryParse(parts[5], CultureInfo.InvariantCulture, out int expert)
                    ? choice.Experts[expert].ToString(CultureInfo.InvariantCulture)
                    : throw new ArgumentException($"{path} holds all experts in one tensor, and is not taken apart");
            return whole.Weights.Stored(_all[string.Join('.', parts)]);
        }
    }
}
