using MoeFromScratch.Autograd;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training;

/// <summary>Where a NaN came from. Runs once, after a run has broken, so it computes the step again and looks at everything.</summary>
public sealed partial class Trainer
{
    private ArithmeticException Diverged(int step, float loss, float norm)
    {
        string what = float.IsFinite(loss) ? FormattableString.Invariant($"gradient norm is {norm}") : FormattableString.Invariant($"loss is {loss}");
        string broken = BrokenParameter() ?? BrokenActivation(step) ?? BrokenGradient() ?? "none, only their sum of squares left the range of F32";
        return new ArithmeticException($"step {step}: the {what}; the first tensor that broke: {broken}");
    }

    private string? BrokenParameter() =>
        model.Weights.All.Select(p => Broken(p.Name!, p)).FirstOrDefault(static b => b is not null);

    /// <summary>In the order the forward pass computes them, by the names of a trace.</summary>
    private string? BrokenActivation(int step)
    {
        using Tape g = Tape.Training(_backend);
        foreach ((int micro, MicroBatch of) in Batches(step).Index())
        {
            if (of.Tokens.Length == 0)
                continue;
            g.Reset();
            ForwardResult result = model.Transformer.Forward(g, Batch.Packed(g, of.Tokens, of.Lengths, of.Tasks), _layers, noise: (options.Seed, Pass(step, micro)),
                estimateChoice: options.EstimateChoice);
            foreach ((int i, LayerOutput layer) in _layers.Index())
            {
                string? routing = layer.Routing is { } r
                    ? Broken($"router.{i}.logits", r.Logits) ?? Broken($"router.{i}.probs", r.Probs) ?? Broken($"router.{i}.expert_weight", r.Weights)
                    : null;
                if ((routing ?? Broken($"hidden_states.{i}", layer.Hidden)) is { } broken)
                    return broken;
            }
            LossTerms terms = Loss.Of(g, result.Logits, of.Labels, 1f / of.Labelled, _layers, options.RouterLosses, tokenWeights: of.Weights);
            if ((Broken("final_norm", result.FinalNorm) ?? Broken("logits", result.Logits) ?? Broken("ce_loss", terms.CrossEntropy)) is { } end)
                return end;
            foreach ((int i, Tensor value) in terms.RouterLosses.Index())
                if (Broken(options.RouterLosses[i].Name, value) is { } loss)
                    return loss;
        }
        return null;
    }

    /// <summary>From the last parameter to the first, as the backward pass meets them.</summary>
    private string? BrokenGradient() =>
        model.Weights.All.Reverse().Select(p => Broken($"grad.{p.Name}", p.Grad!)).FirstOrDefault(static b => b is not null);

    private string? Broken(string name, Tensor x)
    {
        int count = _backend.ToFloats(x).Count(static v => !float.IsFinite(v));
        return count == 0 ? null : $"{name} ({count} of {x.Count} values are not finite)";
    }
}
