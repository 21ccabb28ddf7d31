using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>
/// Feeds sequences to a model, each prompt first and then token by token, several of them together, and holds their key-value
/// cache. After warm-up a step allocates no managed memory: tape, handles and buffers are reused.
/// </summary>
public sealed class Generator : IDisposable
{
    /// <summary>Tokens per forward pass of a long prompt.</summary>
    public const int PrefillChunk = 512;

    private readonly Transformer _model;
    private readonly Tape _tape;
    private readonly KvCache _cache;
    private readonly List<LayerOutput> _layers = [];
    private readonly float[] _logits;
    private readonly float[] _kept;
    private readonly int[] _counts;
    private readonly int[] _tasks;

    /// <param name="capacity">Prompt and generated tokens of one sequence together.</param>
    /// <param name="tasks">Task of each sequence, for models that route by it; empty for none.</param>
    public Generator(Transformer model, IBackend backend, int capacity, int sequences = 1, params int[] tasks)
    {
        _tasks = tasks;
        _model = model;
        _tape = Tape.Inference(backend);
        _cache = new KvCache(backend, model.Config, capacity, sequences);
        _counts = new int[sequences];
        _logits = new float[checked(sequences * model.Config.VocabSize)];
        _kept = new float[model.Config.Layers.Max(static l => l is MoeConfig m ? m.NumExperts : 0)];
        MoeLayers = model.Config.Layers.Count(static l => l is MoeConfig);
    }

    /// <summary>Layers with experts.</summary>
    public int MoeLayers { get; }

    /// <summary>Tokens of a sequence fed so far.</summary>
    public int Length(int sequence = 0) => _cache.Length(sequence);

    /// <summary>Feeds tokens to one sequence; returns the logits [V] after the last of them, valid until the next call.</summary>
    /// <exception cref="ArgumentException">No token, or one outside the vocabulary.</exception>
    /// <exception cref="InvalidOperationException">More tokens than the capacity.</exception>
    public ReadOnlySpan<float> Feed(ReadOnlySpan<int> tokens, int sequence = 0)
    {
        if (tokens.IsEmpty)
            throw new ArgumentException("at least one token is needed");
        RequireInVocabulary(tokens);
        ReadOnlySpan<float> logits = default;
        int context = Length(sequence) + tokens.Length;
        while (!tokens.IsEmpty)
        {
            int count = Math.Min(tokens.Length, PrefillChunk);
            Array.Clear(_counts);
            _counts[sequence] = count;
            bool last = count == tokens.Length;
            logits = Pass(tokens[..count], sequences: last ? 1 : 0, context);
            tokens = tokens[count..];
        }
        return logits;
    }

    /// <summary>Feeds one token to each of some sequences, whose contexts have the same <see cref="RopeScaling.In">rotary form</see>; returns their logits [sequences, V], valid until the next call.</summary>
    /// <param name="sequences">In ascending order.</param>
    /// <inheritdoc cref="Feed"/>
    public ReadOnlySpan<float> Step(ReadOnlySpan<int> tokens, ReadOnlySpan<int> sequences)
    {
        RequireInVocabulary(tokens);
        Array.Clear(_counts);
        foreach (int sequence in sequences)
            _counts[sequence] = 1;
        return Pass(tokens, sequences.Length);
    }

    /// <summary>How many feed-forward experts a token of the last pass used in each mixture layer.</summary>
    /// <param name="counts">[<see cref="MoeLayers"/>]</param>
    /// <param name="fromEnd">0 for the last token fed, 1 for the one before.</param>
    public void CountExperts(Span<int> counts, int fromEnd = 0)
    {
        int at = 0;
        for (int i = 0; i < _layers.Count; i++)
            if (_layers[i].Routing is { } r)
                counts[at++] = CountExperts((MoeLayer)_model.Blocks[i].FeedForward, r, r.Tokens - 1 - fromEnd);
    }

    /// <summary>Forgets a sequence.</summary>
    public void Clear(int sequence = 0) => _cache.Clear(sequence);

    public void Dispose()
    {
        _tape.Dispose();
        _cache.Dispose();
    }

    private ReadOnlySpan<float> Pass(ReadOnlySpan<int> tokens, int sequences, int context = 0)
    {
        _tape.Reset();
        Batch batch = Batch.Continue(_tape, _cache, tokens, _counts, tasks: _tasks, context: context);
        ForwardResult result = _model.Forward(_tape, batch, _layers, _cache);
        Span<float> logits = _logits.AsSpan(0, sequences * _model.Config.VocabSize);
        if (sequences > 0)
            _tape.Backend.Download(result.Logits, logits);
        return logits;
    }

    private void RequireInVocabulary(ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
            if ((uint)token >= (uint)_model.Config.VocabSize)
                throw new ArgumentException($"token {token} is not in the vocabulary of {_model.Config.VocabSize}");
    }

    private int CountExperts(MoeLayer layer, in Routing r, int row)
    {
        Span<float> kept = _kept.AsSpan(0, r.NumExperts);
        _tape.Backend.Download(r.Tokens == 1 ? r.Kept : r.Kept.View([r.NumExperts], (long)row * r.NumExperts), kept);
        int count = 0;
        for (int i = 0; i < layer.Banks.Count; i++)   // a foreach over the interface would allocate its enumerator
            if (layer.Banks[i] is { IsFfn: true } bank)
                foreach (float k in kept.Slice(bank.First, bank.Count))
                    count += k > 0 ? 1 : 0;
        return count;
    }
}
