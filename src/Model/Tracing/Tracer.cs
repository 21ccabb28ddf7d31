using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tracing;

/// <summary>Runs a model over given token ids and writes down everything it computed.</summary>
public static class Tracer
{
    /// <summary>
    /// The evaluation pass: input_ids, logits, hidden_states.N, final_norm, aux_loss and z_loss where the family has them, and router.N.*
    /// for each mixture layer N.
    /// </summary>
    public static void Forward(Trace trace, LanguageModel model, TraceInput input)
    {
        using Tape g = Tape.Inference(model.Backend, keepAll: true);
        List<LayerOutput> layers = [];
        Batch batch = Pack(g, model, input);
        ChoiceBackend? choices = model.Backend as ChoiceBackend;
        choices?.Follow(layers);
        ForwardResult result = model.Transformer.Forward(g, batch, layers);
        choices?.Follow(null);
        Shape hidden = [input.Sequences, input.Length, model.Config.HiddenSize];

        trace.Add("input_ids", [input.Sequences, input.Length], [.. input.Ids.Select(static id => (long)id)]);
        trace.Add("logits", [input.Sequences, input.Length, model.Config.VocabSize], model.Backend.ToFloats(result.Logits));
        trace.Add("final_norm", hidden, model.Backend.ToFloats(result.FinalNorm));
        foreach ((int n, LayerOutput layer) in layers.Index())
        {
            trace.Add($"hidden_states.{n}", hidden, model.Backend.ToFloats(layer.Hidden));
            if (layer.Routing is not { } r)
                continue;
            AddRouting(trace, $"router.{n}", model.Backend, r, ((MoeConfig)model.Config.Layers[n]).Router);
            AddLosses(trace, $"router.{n}.", g, model, input, [layer], batch.TokenMask, perLayer: true);
        }
        AddLosses(trace, "", g, model, input, layers, batch.TokenMask, perLayer: false);
    }

    /// <summary>
    /// The training pass without noise: loss, ce_loss, train.logits, train.aux_loss, train.z_loss and grad.NAME for every parameter, by its
    /// name in the file. The loss takes the checkpoint's own coefficients.
    /// </summary>
    /// <param name="model">Loaded trainable; its parameters stay as they are.</param>
    public static void Gradients(Trace trace, LanguageModel model, TraceInput input)
    {
        using Tape g = Tape.Training(model.Backend);
        model.Weights.ZeroGrad();
        LossTerms terms = Run(g, model, input, out Tensor logits);
        trace.Add("loss", [], model.Backend.ToFloats(terms.Total));
        trace.Add("ce_loss", [], model.Backend.ToFloats(terms.CrossEntropy));
        trace.Add("train.logits", [input.Sequences, input.Length, model.Config.VocabSize], model.Backend.ToFloats(logits));
        foreach ((int i, Tensor value) in terms.RouterLosses.Index())
            if (NameOf(model.Config, i) is { } name)
                trace.Add($"train.{name}", [], model.Backend.ToFloats(value));
        g.Backward(terms.Total);
        foreach (Tensor p in model.Weights.All)
            trace.Add($"grad.{model.Family.NameInFile(p.Name!)}", p.Shape, model.Backend.ToFloats(p.Grad!));
    }

    /// <summary>
    /// AdamW on the whole batch: train.loss and train.grad_norm (before clipping) of each step, every parameter decayed.
    /// </summary>
    /// <param name="model">Loaded trainable; its parameters move.</param>
    public static void TrainSteps(Trace trace, LanguageModel model, TraceInput input, int steps, float learningRate, AdamWOptions adamW, float clipNorm)
    {
        using AdamW optimizer = new(model.Backend, model.Weights.All, adamW with { DecayMatricesOnly = false });
        using Tape g = Tape.Training(model.Backend);
        float[] losses = new float[steps], norms = new float[steps];
        for (int i = 0; i < steps; i++)
        {
            g.Reset();
            model.Weights.ZeroGrad();
            LossTerms terms = Run(g, model, input, out _);
            losses[i] = model.Backend.ToFloats(terms.Total)[0];
            g.Backward(terms.Total);
            norms[i] = GradNorm.Of(model.Backend, model.Weights.All);
            optimizer.Step(learningRate, GradNorm.ClipScale(norms[i], clipNorm));
        }
        trace.Add("train.loss", [steps], losses);
        trace.Add("train.grad_norm", [steps], norms);
    }

    private static Batch Pack(Tape g, LanguageModel model, TraceInput input) => input.Mask is { } mask
        ? Batch.Padded(g, input.Ids, input.Sequences, mask, model.Config.Attention.SeesFirst, input.Tasks)
        : Batch.Packed(g, input.Ids, [.. Enumerable.Repeat(input.Length, input.Sequences)], input.Tasks);

    private static LossTerms Run(Tape g, LanguageModel model, TraceInput input, out Tensor logits)
    {
        int[] labels = Loss.NextTokens(input.Ids, input.Length, input.Mask);
        int count = labels.Count(static l => l >= 0);
        if (count == 0)
            throw new ArgumentException("there is no next token to learn from: a row needs two tokens that are no padding");
        List<LayerOutput> layers = [];
        Batch batch = Pack(g, model, input);
        logits = model.Transformer.Forward(g, batch, layers).Logits;
        return Loss.Of(g, logits, labels, 1f / count, layers, model.Config.RouterLosses, batch.TokenMask, tokenWeights: input.TokenWeights);
    }

    /// <summary>The family's own router losses, without their coefficients.</summary>
    private static void AddLosses(Trace trace, string prefix, Tape g, LanguageModel model, TraceInput input, List<LayerOutput> layers, Tensor? mask, bool perLayer)
    {
        List<Routing> routings = [.. layers.Where(static l => l.Routing is not null).Select(static l => l.Routing!.Value)];
        if (routings.Count == 0)
            return;
        foreach ((int i, RouterLoss loss) in model.Config.RouterLosses.Index())
            if (NameOf(model.Config, i) is { } name && (loss.IsPerLayer || !perLayer))
                trace.Add(prefix + name, [], model.Backend.ToFloats(loss.Of(g, routings, Loss.TokenWeights(g, input.Ids.Length, loss, mask, input.TokenWeights))));
    }

    /// <summary>aux_loss for the first of the router losses, z_loss for a z-loss after it; null for others.</summary>
    private static string? NameOf(ModelConfig config, int loss) => loss == 0 ? "aux_loss" : config.RouterLosses[loss] is RouterZLoss ? "z_loss" : null;

    private static void AddRouting(Trace trace, string name, IBackend backend, in Routing r, RouterConfig router)
    {
        int tokens = r.Tokens, experts = r.NumExperts;
        float[] kept = backend.ToFloats(r.Kept), chosen = router.DroppedKeepWeight ? backend.ToFloats(r.Selected) : kept;
        long[] mask = [.. kept.Select(static k => k > 0 ? 1L : 0L)], ffn = new long[tokens], slots = new long[tokens];
        for (int t = 0; t < tokens; t++)
            foreach (ExpertBank bank in r.Banks.Where(static b => !b.IsShared))
                for (int e = bank.First; e < bank.First + bank.Count; e++)
                {
                    slots[t] += chosen[t * experts + e] > 0 ? 1 : 0;
                    ffn[t] += bank.IsFfn ? mask[t * experts + e] : 0;
                }
        trace.Add($"{name}.logits", [tokens, experts], backend.ToFloats(r.Logits));
        trace.Add($"{name}.probs", [tokens, experts], backend.ToFloats(r.Probs));
        trace.Add($"{name}.expert_mask", [tokens, experts], mask);
        trace.Add($"{name}.expert_weight", [tokens, experts], backend.ToFloats(r.Weights));
        trace.Add($"{name}.selected_count", [tokens], ffn);
        trace.Add($"{name}.selected_slots", [tokens], slots);
        if (r.Detail is null)
            return;
        foreach ((string key, Tensor value) in r.Detail.Tensors)
            trace.Add($"{name}.{key}", value.Shape, backend.ToFloats(value));
        foreach ((string key, Tensor value) in r.Detail.Counts)
            trace.Add($"{name}.{key}", value.Shape, [.. backend.ToFloats(value).Select(static c => (long)c)]);
    }
}
