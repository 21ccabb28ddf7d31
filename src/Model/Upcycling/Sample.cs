using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>Token ids to compare models on.</summary>
/// <param name="Source">What they are, in words.</param>
public sealed record Sample(int[] Ids, string Source)
{
    private const int MaxTokens = 1 << 15, RandomTokens = 1 << 11, Site = 14;

    private const string Text = """
        The mill stood where two streams met, and nobody in the village could say who had built it. In spring the water came down brown from
        the hills and turned the wheel day and night; by August it was a thread between the stones, and the miller mended nets instead. He had
        a daughter who kept the accounts: so many sacks for the baker, so many for the school, and one that the mice had. She added the columns
        twice, and they were right both times.

        A town needs bread, and bread needs water, so the council met whenever the rain was late. Some wanted a dam, others a windmill on the
        ridge. The schoolteacher drew both on the blackboard and asked the children which would last longer. They counted the beams, the
        nails and the days of wind in an ordinary year. Neither, said the smallest boy at last, unless someone stays to look after it.
        """;

    /// <summary>
    /// A text's ids. A model whose tokenizer is not there or cannot be read, or lacks the built-in text's characters, is shown random
    /// ones, and <see cref="Source"/> says so.
    /// </summary>
    /// <param name="text">Null for the built-in one.</param>
    /// <param name="name">What the text is called.</param>
    /// <exception cref="ArgumentException">The text is shorter than two tokens, has characters that the vocabulary lacks, or there is no tokenizer for it.</exception>
    /// <exception cref="CheckpointException">The text's tokenizer cannot be read.</exception>
    public static Sample Of(LanguageModel model, string? text, string name, ulong seed)
    {
        string source = text is null ? "a built-in text" : name;
        int[] ids;
        try
        {
            if (model.Tokenizer is not { } tokenizer)
                return text is null ? Random(model, seed, "the model has no tokenizer") : throw new ArgumentException($"--sample-text {name}: the model has no tokenizer to read a text with");
            ids = tokenizer.Encode(text ?? Text);
        }
        catch (Exception e) when (text is null && (e is ArgumentException or CheckpointException))
        {
            return Random(model, seed, $"of {source}: {e.Message}");
        }
        return ids.Length > 1 ? new Sample(ids.Length > MaxTokens ? ids[..MaxTokens] : ids, source) : throw new ArgumentException($"{source} has {ids.Length} tokens, a sample needs two");
    }

    private static Sample Random(LanguageModel model, ulong seed, string why)
    {
        CounterRandom random = CounterRandom.At(seed, step: 0, layer: 0, Site);
        return new Sample([.. Enumerable.Range(0, RandomTokens).Select(i => (int)random.Below(model.Config.VocabSize, (ulong)i))], $"random ids, {why}");
    }
}
