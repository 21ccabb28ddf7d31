using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training;

/// <summary>What training minimises: the mean cross-entropy of the next token, plus coefficient · value of each router loss.</summary>
public static class Loss
{
    /// <param name="labels">[T] the token after each token; negative where there is none.</param>
    /// <param name="labelWeight">What each labelled token counts: 1 / labelled tokens of the whole step, over all its micro-batches.</param>
    /// <param name="tokenMask">[T] 1 for tokens, 0 for padding, as the router losses count them; null when nothing is padding.</param>
    /// <param name="tokenWeights">[T] what each token counts in the router losses, relative to the others; empty for all the same.</param>
    /// <param name="routerScale">Share of this micro-batch in the step: its tokens by all micro-batches' tokens. With it, losses that are means over tokens add up to those of one batch; balance stays a matter of each micro-batch.</param>
    public static LossTerms Of(Tape g, Tensor logits, ReadOnlySpan<int> labels, float labelWeight, IReadOnlyList<LayerOutput> layers,
        IReadOnlyList<RouterLoss> routerLosses, Tensor? tokenMask = null, float routerScale = 1, ReadOnlySpan<float> tokenWeights = default)
    {
        Tensor targets = g.Constant([labels.Length], DType.I32, labels);
        Tensor crossEntropy = g.RowDot(g.CrossEntropy(logits, targets), g.Constant([labels.Length], labelWeight));
        Tensor total = crossEntropy;
        List<Routing> routings = [.. layers.Where(static l => l.Routing is not null).Select(static l => l.Routing!.Value)];
        List<Tensor> values = [];
        if (routings.Count > 0)
        {
            foreach (RouterLoss loss in routerLosses)
            {
                Tensor value = loss.Of(g, routings, TokenWeights(g, labels.Length, loss, tokenMask, tokenWeights));
                values.Add(value);
                total = g.Add(total, g.Scale(value, loss.Coefficient * routerScale));
            }
        }
        return new LossTerms(total, crossEntropy, values);
    }

    /// <summary>[T] what each token counts in a router loss: weights that sum to 1, 0 for padding unless the loss counts it.</summary>
    public static Tensor TokenWeights(Tape g, int tokens, RouterLoss loss, Tensor? mask, ReadOnlySpan<float> weights = default) =>
        TokenWeights(g, tokens, loss.CountsPadding && weights.IsEmpty ? null : mask, weights);

    /// <summary>[T] weights that sum to 1 over the tokens that are no padding.</summary>
    public static Tensor TokenWeights(Tape g, int tokens, Tensor? mask, ReadOnlySpan<float> weights = default)
    {
        if (mask is null && weights.IsEmpty)
            return g.Constant([tokens], 1f / tokens);
        float[] w = mask is null ? weights.ToArray() : g.Backend.ToFloats(mask);
        if (mask is not null && !weights.IsEmpty)
            for (int t = 0; t < w.Length; t++)
                w[t] *= weights[t];
        float sum = w.Sum();
        for (int t = 0; t < w.Length; t++)
            w[t] /= sum;
        return g.Constant<float>([tokens], DType.F32, w);
    }

    /// <summary>Next-token labels of sequences of equal length: each token's successor, −1 after the last and before padding.</summary>
    public static int[] NextTokens(ReadOnlySpan<int> tokens, int length, ReadOnlySpan<int> mask = default)
    {
        int[] labels = new int[tokens.Length];
        for (int t = 0; t < labels.Length; t++)
        {
            bool last = t % length == length - 1;
            labels[t] = last || (!mask.IsEmpty && mask[t + 1] == 0) ? -1 : tokens[t + 1];
        }
        return labels;
    }
}

/// <param name="Total">[1] what is differentiated.</param>
/// <param name="CrossEntropy">[1]</param>
/// <param name="RouterLosses">[1] each, without coefficient, in the order they were given; empty for a dense model.</param>
public readonly record struct LossTerms(Tensor Total, Tensor CrossEntropy, IReadOnlyList<Tensor> RouterLosses);
