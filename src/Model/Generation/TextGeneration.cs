using System.Runtime.CompilerServices;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors;

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

    /// <summary>The task, for models that route by it.</summary>
    public int? Task { get; init; }

    /// <summary>What the key-value cache holds: F32, F16 or BF16; null for <see cref="Generator.UsualCacheType"/>.</summary>
    public DType? CacheType { get; init; }

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
    /// <exception cref="ArgumentException">The model has no tokenizer, or see <see cref="Generate(LanguageModel, IReadOnlyList{int}, GenerateOptions)"/>.</exception>
    public static IEnumerable<TextPiece> Stream(LanguageModel model, IReadOnlyList<int> prompt, GenerateOptions options) =>
        Stream(model, [prompt], options).Select(static p => p.Piece);

    /// <summary>
    /// The texts of several prompts, made together, their pieces as they come; a piece without a token is a prompt's last. Prompt i
    /// draws with the seed plus i, so that the same prompt twice gives two texts.
    /// </summary>
    /// <inheritdoc cref="Stream(LanguageModel, IReadOnlyList{int}, GenerateOptions)"/>
    public static IEnumerable<(int Prompt, TextPiece Piece)> Stream(LanguageModel model, IReadOnlyList<IReadOnlyList<int>> prompts, GenerateOptions options)
    {
        Tokenizer tokenizer = model.Tokenizer ?? throw new ArgumentException("the model has no tokenizer");
        return Run(model, prompts, options, tokenizer);
    }

    /// <summary>
    /// New tokens one by one, as they are made. A text that outgrows the model's context goes on from the last half of it.
    /// </summary>
    /// <param name="prompt">At least one token id.</param>
    /// <exception cref="ArgumentException">An empty prompt, one longer than the context, or an id outside the vocabulary.</exception>
    public static IEnumerable<GeneratedToken> Generate(LanguageModel model, IReadOnlyList<int> prompt, GenerateOptions options) =>
        Generate(model, [prompt], options).Where(static p => p.Token is not null).Select(static p => p.Token!.Value);

    /// <summary>The tokens of several prompts, made together, then null where a prompt ends; prompt i draws with the seed plus i.</summary>
    /// <inheritdoc cref="Generate(LanguageModel, IReadOnlyList{int}, GenerateOptions)"/>
    public static IEnumerable<(int Prompt, GeneratedToken? Token)> Generate(LanguageModel model, IReadOnlyList<IReadOnlyList<int>> prompts, GenerateOptions options) =>
        Run(model, prompts, options, null).Select(static p => (p.Prompt, p.Piece.Token));

    /// <param name="tokenizer">Null where only the tokens are wanted.</param>
    private static IEnumerable<(int Prompt, TextPiece Piece)> Run(
        LanguageModel model, IReadOnlyList<IReadOnlyList<int>> prompts, GenerateOptions options, Tokenizer? tokenizer)
    {
        int context = model.Config.MaxPositions;
        ArgumentOutOfRangeException.ThrowIfNegative(options.MaxNewTokens);
        foreach (IReadOnlyList<int> prompt in prompts)
            if (prompt.Count == 0)
                throw new ArgumentException("the prompt is empty");
            else if (prompt.Count > context)
                throw new ArgumentException($"the prompt has {prompt.Count} tokens, the model's context is {context}");
        TaskRouterConfig[] byTask = [.. model.Config.Layers.OfType<MoeConfig>().Select(static m => m.Router).OfType<TaskRouterConfig>()];
        if (byTask.Length == 0 && options.Task is not null)
            throw new ArgumentException("the model does not route by task");
        foreach (TaskRouterConfig router in byTask)
            if (options.Task < 0 || options.Task >= router.Tasks)
                throw new ArgumentException($"the model knows the tasks 0 to {router.Tasks - 1}, not {options.Task}");
        return prompts.Count == 0 ? [] : new Continuations(model, prompts, options, tokenizer).Run();
    }
}
