using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>How far an upcycled model is from its dense one: ‖ours − theirs‖ / ‖theirs‖ over all tokens, after each layer and at the logits.</summary>
/// <param name="Tokens">How many were compared.</param>
/// <param name="DenseLoss">Mean cross-entropy of the next token, nats.</param>
public sealed record OutputDifference(int Tokens, IReadOnlyList<double> Layers, double Logits, float DenseLoss, float UpcycledLoss)
{
    private const int MaxTokens = 256;

    /// <exception cref="ArithmeticException">The dense model's logits are not numbers.</exception>
    public static OutputDifference Of(LanguageModel dense, LanguageModel upcycled, ReadOnlySpan<int> ids)
    {
        int length = Math.Min(ids.Length, Math.Min(MaxTokens, dense.Config.MaxPositions));
        ids = ids[..(Math.Min(ids.Length, MaxTokens) / length * length)];
        Outputs a = Run(dense, ids, length);
        if (float.IsNaN(a.Loss))
            throw new ArithmeticException("the dense model's logits are not numbers (NaN): its weights are damaged");
        Outputs b = Run(upcycled, ids, length);
        return new OutputDifference(ids.Length, [.. a.Layers.Zip(b.Layers, Relative)], Relative(a.Logits, b.Logits), a.Loss, b.Loss);
    }

    private sealed record Outputs(List<float[]> Layers, float[] Logits, float Loss);

    /// <param name="length">Tokens of each sequence.</param>
    private static Outputs Run(LanguageModel model, ReadOnlySpan<int> ids, int length)
    {
        using Tape g = Tape.Inference(model.Backend, keepAll: true);
        List<LayerOutput> layers = [];
        ForwardResult result = model.Transformer.Forward(g, Batch.Packed(g, ids, [.. Enumerable.Repeat(length, ids.Length / length)]), layers);
        int[] labels = Loss.NextTokens(ids, length);
        LossTerms loss = Loss.Of(g, result.Logits, labels, 1f / Math.Max(1, labels.Count(static l => l >= 0)), layers, []);
        return new Outputs([.. layers.Select(l => model.Backend.ToFloats(l.Hidden))], model.Backend.ToFloats(result.Logits), model.Backend.ToFloats(loss.CrossEntropy)[0]);
    }

    private static double Relative(float[] theirs, float[] ours)
    {
        double difference = 0, size = 0;
        for (int i = 0; i < theirs.Length; i++)
        {
            difference += ((double)ours[i] - theirs[i]) * ((double)ours[i] - theirs[i]);
            size += (double)theirs[i] * theirs[i];
        }
        return Math.Sqrt(difference / size);
    }
}
