using System.Runtime.InteropServices;
using System.Security.Cryptography;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training;

/// <summary>
/// A text as token ids, or one for each task, their last tenths kept for validation. Windows are drawn at random places, or, in
/// epochs, lie end to end and come in another order each time.
/// </summary>
public sealed class TokenData : TrainingData
{
    private const int Site = 2;   // tells the choice of windows apart from the other users of a seed
    private readonly int[][] _train, _validation;   // by task
    private readonly EpochOrder? _epochs;
    private string? _fingerprint;

    /// <param name="context">Tokens per window; a window's labels need one token more.</param>
    /// <param name="validationShare">What is kept for validation; 0 for nothing.</param>
    /// <param name="inEpochs">Whether an epoch sees every window once.</param>
    /// <exception cref="ArgumentException">Too few tokens for one window in each part.</exception>
    public TokenData(int[] tokens, int context, float validationShare = 0.1f, bool inEpochs = false) : this([tokens], context, validationShare, inEpochs)
    {
    }

    /// <param name="texts">The text of each task.</param>
    /// <inheritdoc cref="TokenData(int[], int, float, bool)"/>
    public TokenData(IReadOnlyList<int[]> texts, int context, float validationShare = 0.1f, bool inEpochs = false)
    {
        _validation = [.. texts.Select(text => ValidationPart(text, validationShare))];
        _train = [.. texts.Zip(_validation, static (text, end) => text[..^end.Length])];
        Context = context;
        for (int i = 0; i < texts.Count; i++)
            if (_train[i].Length <= context || (validationShare > 0 && _validation[i].Length <= context))
                throw new ArgumentException(validationShare > 0
                    ? $"{texts[i].Length} tokens are too few: training and validation (a tenth) need more than the context of {context} each"
                    : $"{texts[i].Length} tokens are too few: training needs more than the context of {context}");
        _epochs = inEpochs ? new EpochOrder(Examples) : null;
    }

    public int Context { get; }

    /// <summary>Windows of the whole training part, end to end.</summary>
    public override int Examples => _train.Sum(WindowsOf);

    /// <summary>Windows of the whole validation part, end to end, one task after the other.</summary>
    public int ValidationWindows => _validation.Sum(WindowsOf);

    public override int ValidationExamples => ValidationWindows;

    /// <summary>SHA-256 of both parts, and the order where it is not by chance.</summary>
    public override string Fingerprint => _fingerprint ??= _epochs is null ? Hash() : $"{Hash()} in epochs";

    /// <inheritdoc/>
    public override MicroBatch Train(ulong seed, long step, int microBatch, int batchSize, int accumulate)
    {
        if (_epochs is not null)
            return Windows(_train, _epochs.Batch(seed, step, microBatch, batchSize, accumulate));
        int[] inputs = new int[batchSize * Context], labels = new int[inputs.Length], tasks = new int[batchSize];
        Train(seed, step, microBatch, inputs, labels, tasks);
        return Of(inputs, labels, tasks);
    }

    /// <inheritdoc/>
    public override MicroBatch Validation(ReadOnlySpan<int> examples) => Windows(_validation, examples);

    /// <summary>Random windows for a step: a function of (seed, step, micro-batch), so a resumed run sees what it would have seen.</summary>
    /// <param name="inputs">[windows · Context]</param>
    /// <param name="labels">The same, one token on.</param>
    /// <param name="tasks">[windows] where each is from, unless it is empty; longer texts are drawn more often.</param>
    public void Train(ulong seed, long step, int microBatch, Span<int> inputs, Span<int> labels, Span<int> tasks = default)
    {
        CounterRandom random = CounterRandom.At(seed, step, microBatch, Site);
        long places = _train.Sum(text => (long)text.Length - Context);
        for (int w = 0; w < inputs.Length / Context; w++)
        {
            long place = random.Below(places, (ulong)w);
            int task = 0;
            for (; place >= _train[task].Length - Context; task++)
                place -= _train[task].Length - Context;
            if (!tasks.IsEmpty)
                tasks[w] = task;
            Window(_train[task], (int)place, w, inputs, labels);
        }
    }

    /// <summary>Validation windows from <paramref name="first"/> on.</summary>
    /// <param name="tasks">[windows] where each is from, unless it is empty.</param>
    public void Validation(int first, Span<int> inputs, Span<int> labels, Span<int> tasks = default)
    {
        for (int w = 0; w < inputs.Length / Context; w++)
            Window(_validation, first + w, w, inputs, labels, tasks);
    }

    /// <summary>Windows that lie end to end, one text after the other.</summary>
    private MicroBatch Windows(int[][] texts, ReadOnlySpan<int> which)
    {
        int[] inputs = new int[which.Length * Context], labels = new int[inputs.Length], tasks = new int[which.Length];
        for (int w = 0; w < which.Length; w++)
            Window(texts, which[w], w, inputs, labels, tasks);
        return Of(inputs, labels, tasks);
    }

    private void Window(int[][] texts, int window, int place, Span<int> inputs, Span<int> labels, Span<int> tasks)
    {
        int task = 0;
        for (; window >= WindowsOf(texts[task]); task++)
            window -= WindowsOf(texts[task]);
        if (!tasks.IsEmpty)
            tasks[place] = task;
        Window(texts[task], window * Context, place, inputs, labels);
    }

    private MicroBatch Of(int[] inputs, int[] labels, int[] tasks) =>
        new(inputs, labels, [.. Enumerable.Repeat(Context, tasks.Length)]) { Tasks = tasks };

    private int WindowsOf(int[] text) => Math.Max(0, text.Length - 1) / Context;

    private string Hash()
    {
        const int Piece = 1 << 20;      // a part may have more bytes than one span can
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (int[] part in _train.Zip(_validation).SelectMany(static t => new[] { [t.First.Length, t.Second.Length], t.First, t.Second }))
            for (int at = 0; at < part.Length; at += Piece)
                hash.AppendData(MemoryMarshal.AsBytes(part.AsSpan(at, Math.Min(Piece, part.Length - at))));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private void Window(int[] tokens, int start, int window, Span<int> inputs, Span<int> labels)
    {
        tokens.AsSpan(start, Context).CopyTo(inputs[(window * Context)..]);
        tokens.AsSpan(start + 1, Context).CopyTo(labels[(window * Context)..]);
    }

    /// <summary>The end of a text, which is kept for validation.</summary>
    public static int[] ValidationPart(int[] tokens, float validationShare = 0.1f) => tokens[^(int)(tokens.Length * validationShare)..];
}
