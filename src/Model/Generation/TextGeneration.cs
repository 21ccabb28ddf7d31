using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Generation;

/// <summary>How a text is continued.</summary>
public sealed record GenerateOptions
{
    public int MaxNewTokens { get; init; } = 200;
    public SamplerOptions Sampler { get; init; } = new();

    /// <summary>Texts that end the generation; they are not part of it.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Go on after an end-of-sequence token.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>Compute the whole sequence again for every token, without a key-value cache: slow, to check the cache.</summary>
    public bool NoCache { get; init; }
}

/// <summary>One new token.</summary>
/// <param name="Experts">Feed-forward experts used in each mixture layer at the position whose logits produced the token.</param>
public readonly record struct GeneratedToken(int Id, IReadOnlyList<int> Experts)
{
    /// <summary>Mean of <see cref="Experts"/> over the mixture layers; 0 for a dense model.</summary>
    public double ExpertsPerToken => Experts.Count == 0 ? 0 : Experts.Average();
}

/// <summary>Text that may be shown, and the token that brought it; the last piece of a text may have no token.</summary>
public readonly record struct TextPiece(string Text, GeneratedToken? Token);

/// <summary>Continues prompts.</summary>
public static class TextGeneration
{
    /// <summary>Continues a text, piece by piece, off the caller's thread. One stream at a time for a backend.</summary>
    /// <exception cref="ArgumentException">The model has no tokenizer, or see <see cref="Generate"/>.</exception>
    public static async IAsyncEnumerable<string> StreamAsync(this LanguageModel model, string prompt, GenerateOptions? options = null,
        [EnumeratorCancellation] CancellationToken stop = default)
    {
        Tokenizer tokenizer = model.Tokenizer ?? throw new ArgumentException("the model has no tokenizer");
        using IEnumerator<TextPiece> pieces = Stream(model, tokenizer.Encode(prompt), options ?? new GenerateOptions()).GetEnumerator();
        while (await Task.Run(pieces.MoveNext, stop).ConfigureAwait(false))
            yield return pieces.Current.Text;
    }

    /// <summary>New text as it may be shown: whole characters, and nothing of a stop string.</summary>
    /// <exception cref="ArgumentException">The model has no tokenizer, or see <see cref="Generate"/>.</exception>
    public static IEnumerable<TextPiece> Stream(LanguageModel model, IReadOnlyList<int> prompt, GenerateOptions options)
    {
        StreamingDecoder decoder = new(model.Tokenizer ?? throw new ArgumentException("the model has no tokenizer"));
        foreach (int id in prompt)
            decoder.Append(id);   // the text goes on where the prompt ends
        return Cut(Generate(model, prompt, options), decoder, new StopStrings(options.Stop));
    }

    private static IEnumerable<TextPiece> Cut(IEnumerable<GeneratedToken> tokens, StreamingDecoder decoder, StopStrings stop)
    {
        foreach (GeneratedToken token in tokens)
        {
            yield return new TextPiece(stop.Push(decoder.Append(token.Id)), token);
            if (stop.Stopped)
                yield break;
        }
        yield return new TextPiece(stop.Push(decoder.End()) + stop.Flush(), null);
    }

    /// <summary>
    /// New tokens one by one, as they are made. A text that outgrows the model's context goes on from the last half of it.
    /// </summary>
    /// <param name="prompt">At least one token id.</param>
    /// <exception cref="ArgumentException">An empty prompt, one longer than the context, or an id outside the vocabulary.</exception>
    public static IEnumerable<GeneratedToken> Generate(LanguageModel model, IReadOnlyList<int> prompt, GenerateOptions options)
    {
        int context = model.Config.MaxPositions;
        if (prompt.Count == 0)
            throw new ArgumentException("the prompt is empty");
        if (prompt.Count > context)
            throw new ArgumentException($"the prompt has {prompt.Count} tokens, the model's context is {context}");
        ArgumentOutOfRangeException.ThrowIfNegative(options.MaxNewTokens);
        return Continue(model, [.. prompt], options, (int)Math.Min((long)prompt.Count + options.MaxNewTokens, context));
    }

    private static IEnumerable<GeneratedToken> Continue(LanguageModel model, List<int> tokens, GenerateOptions options, int capacity)
    {
        using Generator generator = new(model.Transformer, model.Backend, capacity);
        Sampler sampler = new(options.Sampler);
        IReadOnlyList<int> eos = model.Generation.EosTokenIds is { Count: > 0 } theirs ? theirs : model.Config.EosTokenIds;
        int start = 0;   // first token the model still sees
        for (int made = 0; made < options.MaxNewTokens; made++)
        {
            if (tokens.Count - start > capacity)
                start = tokens.Count - Math.Max(capacity / 2, 1);
            if (options.NoCache || generator.Length >= tokens.Count - start)
                generator.Clear();
            int[] unseen = [.. tokens[(start + generator.Length)..]];
            int next = sampler.Next(generator.Feed(unseen), CollectionsMarshal.AsSpan(tokens));
            if (!options.IgnoreEos && eos.Contains(next))
                yield break;
            int[] experts = new int[generator.MoeLayers];
            generator.CountExperts(experts);
            tokens.Add(next);
            yield return new GeneratedToken(next, experts);
        }
    }
}
