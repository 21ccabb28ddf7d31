using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Conversion;

/// <summary>Some tokens that two models are compared on.</summary>
internal static class Sample
{
    private const int Longest = 32;
    private const string Text = "Once upon a time there were 12 small boats on the lake; every morning, the first one to leave was the blue one.";

    /// <summary>Logits of all positions, and the greedy continuation.</summary>
    /// <exception cref="ArithmeticException">A model's logits are not numbers; the message says whose.</exception>
    public static SampleComparison Compare(LanguageModel before, LanguageModel after, int newTokens)
    {
        int[] ids = Tokens(before, newTokens);
        newTokens = Math.Clamp(before.Config.MaxPositions - ids.Length, 0, newTokens);
        float[] a = Logits(before, ids), b = Logits(after, ids);
        if (a.Any(float.IsNaN))
            throw new ArithmeticException("the source's logits are not numbers (NaN): its weights are damaged");
        if (b.Any(float.IsNaN))
            throw new ArithmeticException("the result's logits are not numbers (NaN): the source has weights that are too large for the type; choose another with --to");
        float difference = 0, largest = 0;
        for (int i = 0; i < a.Length; i++)
        {
            difference = Math.Max(difference, Math.Abs(a[i] - b[i]));
            largest = Math.Max(largest, Math.Abs(a[i]));
        }
        return new SampleComparison(ids.Length, difference, largest, Greedy(before, ids, newTokens), Greedy(after, ids, newTokens));
    }

    /// <summary>An English sentence where there is a tokenizer that knows its characters, else ids from all over the vocabulary.</summary>
    private static int[] Tokens(LanguageModel model, int newTokens)
    {
        int count = Math.Clamp(model.Config.MaxPositions - newTokens, 1, Longest);
        try
        {
            if (model.Tokenizer?.Encode(Text) is { Length: > 1 } ids)
                return ids[..Math.Min(count, ids.Length)];
        }
        catch (Exception e) when (e is CheckpointException or ArgumentException)
        {
            // A tokenizer of another kind, or a small vocabulary: ids do.
        }
        return [.. Enumerable.Range(1, count).Select(i => (int)(i * 2654435761L % model.Config.VocabSize))];
    }

    private static float[] Logits(LanguageModel model, int[] ids)
    {
        using Tape g = Tape.Inference(model.Backend);
        int[] tasks = RoutesByTask(model) ? [0] : [];
        ForwardResult result = model.Transformer.Forward(g, Batch.Packed(g, ids, [ids.Length], tasks), []);
        Tensor host = new(result.Logits.Shape, DType.F32, new NativeStorage(result.Logits.Bytes));
        model.Backend.Download(result.Logits, host.Host<byte>());
        return host.Floats.ToArray();
    }

    private static int[] Greedy(LanguageModel model, int[] ids, int newTokens)
    {
        GenerateOptions options = new() { MaxNewTokens = newTokens, IgnoreEos = true, Task = RoutesByTask(model) ? 0 : null };
        return [.. TextGeneration.Generate(model, ids, options).Select(static t => t.Id)];
    }

    private static bool RoutesByTask(LanguageModel model) => model.Config.Layers.OfType<MoeConfig>().Any(static m => m.Router is TaskRouterConfig);
}
