using System.Runtime.InteropServices;
using System.Security.Cryptography;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training;

/// <summary>A text as token ids, its last tenth kept for validation.</summary>
public sealed class TokenData
{
    private const int Site = 2;   // tells the choice of windows apart from the other users of a seed
    private readonly int[] _train, _validation;
    private string? _fingerprint;

    /// <param name="context">Tokens per window; a window's labels need one token more.</param>
    /// <exception cref="ArgumentException">Too few tokens for one window in each part.</exception>
    public TokenData(int[] tokens, int context, float validationShare = 0.1f)
    {
        int train = tokens.Length - (int)(tokens.Length * validationShare);
        (_train, _validation, Context) = (tokens[..train], tokens[train..], context);
        if (_train.Length <= context || _validation.Length <= context)
            throw new ArgumentException(
                $"{tokens.Length} tokens are too few: training and validation (a tenth) need more than the context of {context} each");
    }

    public int Context { get; }

    /// <summary>Windows of the whole validation part, end to end.</summary>
    public int ValidationWindows => (_validation.Length - 1) / Context;

    /// <summary>SHA-256 of both parts: runs with the same one see the same windows.</summary>
    public string Fingerprint => _fingerprint ??= Hash();

    /// <summary>Random windows for a step: a function of (seed, step, micro-batch), so a resumed run sees what it would have seen.</summary>
    /// <param name="inputs">[windows · Context]</param>
    /// <param name="labels">The same, one token on.</param>
    public void Train(ulong seed, long step, int microBatch, Span<int> inputs, Span<int> labels)
    {
        CounterRandom random = CounterRandom.At(seed, step, microBatch, Site);
        for (int w = 0; w < inputs.Length / Context; w++)
            Window(_train, (int)random.Below(_train.Length - Context, (ulong)w), w, inputs, labels);
    }

    /// <summary>Validation windows from <paramref name="first"/> on.</summary>
    public void Validation(int first, Span<int> inputs, Span<int> labels)
    {
        for (int w = 0; w < inputs.Length / Context; w++)
            Window(_validation, (first + w) * Context, w, inputs, labels);
    }

    private string Hash()
    {
        const int Piece = 1 << 20;      // a part may have more bytes than one span can
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (int[] part in new[] { [_train.Length, _validation.Length], _train, _validation })
            for (int at = 0; at < part.Length; at += Piece)
                hash.AppendData(MemoryMarshal.AsBytes(part.AsSpan(at, Math.Min(Piece, part.Length - at))));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private void Window(int[] tokens, int start, int window, Span<int> inputs, Span<int> labels)
    {
        tokens.AsSpan(start, Context).CopyTo(inputs[(window * Context)..]);
        tokens.AsSpan(start + 1, Context).CopyTo(labels[(window * Context)..]);
    }
}
