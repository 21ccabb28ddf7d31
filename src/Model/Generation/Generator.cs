using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>
/// Feeds one sequence to a model, a prompt first and then token by token, and holds its key-value cache. After warm-up a
/// step allocates no managed memory: tape, handles and buffers are reused.
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

    /// <param name="capacity">Prompt and generated tokens together.</param>
    public Generator(Transformer model, IBackend backend, int capacity)
    {
        _model = model;
        _tape = Tape.Inference(backend);
        _cache = new KvCache(backend, model.Config, capacity);
        _logits = new float[model.Config.VocabSize];
        _kept = new float[model.Config.Layers.Max(static l => l is MoeConfig m ? m.NumExperts : 0)];
        MoeLayers = model.Config.Layers.Count(static l => l is MoeConfig);
    }

    /// <summary>Layers with experts.</summary>
    public int MoeLayers { get; }

    /// <summary>Tokens fed so far.</summary>
    public int Length => _cache.Length(0);

    /// <summary>Feeds tokens; returns the logits after the last of them, valid until the next call.</summary>
    /// <exception cref="ArgumentException">No token, or one outside the vocabulary.</exception>
    /// <exception cref="InvalidOperationException">More tokens than the capacity.</exception>
    public ReadOnlySpan<float> Feed(ReadOnlySpan<int> tokens)
    {
        if (tokens.IsEmpty)
            throw new ArgumentException("at least one token is needed");
        foreach (int token in tokens)
            if ((uint)token >= (uint)_logits.Length)
                throw new ArgumentException($"token {token} is not in the vocabulary of {_logits.Length}");
        while (!tokens.IsEmpty)
        {
            int count = Math.Min(tokens.Length, PrefillChunk);
            _tape.Reset();
            Batch batch = Batch.Continue(_tape, _cache, tokens[..count], [count]);
            ForwardResult result = _model.Forward(_tape, batch, _layers, _cache);
            tokens = tokens[count..];
            if (tokens.IsEmpty)
                _tape.Backend.Download<float>(result.Logits, _logits);
        }
        return _logits;
    }

    /// <summary>How many feed-forward experts the last token fed used in each mixture layer.</summary>
    /// <param name="counts">[<see cref="MoeLayers"/>]</param>
    public void CountExperts(Span<int> counts)
    {
        int at = 0;
        for (int i = 0; i < _layers.Count; i++)
            if (_layers[i].Routing is { } r)
                counts[at++] = CountExperts((MoeLayer)_model.Blocks[i].FeedForward, r);
    }

    /// <summary>Forgets the sequence.</summary>
    public void Clear()
    {
        _tape.Reset();
        _layers.Clear();
        _cache.Clear();
    }

    public void Dispose()
    {
        _tape.Dispose();
        _cache.Dispose();
    }

    private int CountExperts(MoeLayer layer, in Routing r)
    {
        Span<float> kept = _kept.AsSpan(0, r.NumExperts);
        Tensor last = r.Tokens == 1 ? r.Kept : r.Kept.View([r.NumExperts], (long)(r.Tokens - 1) * r.NumExperts);
        _tape.Backend.Download(last, kept);
        int count = 0;
        for (int i = 0; i < layer.Banks.Count; i++)   // a foreach over the interface would allocate its enumerator
            if (layer.Banks[i] is { IsFfn: true } bank)
                foreach (float k in kept.Slice(bank.First, bank.Count))
                    count += k > 0 ? 1 : 0;
        return count;
    }
}
