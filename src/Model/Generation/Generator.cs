using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>
/// Feeds sequences to a model, each prompt first and then token by token, several of them together, and holds their key-value
/// cache. After warm-up a step allocates no managed memory: tape, handles and buffers are reused. Of what a step computes only the
/// sampled tokens, and how many experts they used, come to the host; logits do for those who ask for them.
/// </summary>
public sealed class Generator : IDisposable
{
    /// <summary>Tokens per forward pass of a long prompt.</summary>
    public const int PrefillChunk = 512;

    private readonly Transformer _model;
    private readonly Tape _tape;
    private readonly KvCache _cache;
    private readonly List<LayerOutput> _layers = [];
    private readonly int[] _counts;
    private readonly int[] _tasks;
    private readonly Results _results;
    private Tensor? _logits;
    private float[] _onHost = [];

    /// <param name="capacity">Prompt and generated tokens of one sequence together.</param>
    /// <param name="cacheType">What the cache holds: F32, F16 or BF16; null for <see cref="UsualCacheType"/>.</param>
    /// <param name="tasks">Task of each sequence, for models that route by it; empty for none.</param>
    public Generator(Transformer model, IBackend backend, int capacity, int sequences = 1, DType? cacheType = null, params int[] tasks)
    {
        _tasks = tasks;
        _model = model;
        _tape = Tape.Inference(backend);
        _cache = new KvCache(backend, model.Config, capacity, sequences, cacheType ?? UsualCacheType(model));
        _counts = new int[sequences];
        _results = new Results(backend, [.. model.Blocks.Select(static b => b.FeedForward).OfType<MoeLayer>()], sequences);
    }

    /// <summary>
    /// F16 for a model of quantised weights, whose own rounding is far coarser and whose cache would be read at twice the cost; F32 for any other, whose
    /// cached logits are then those of a pass over the whole text.
    /// </summary>
    public static DType UsualCacheType(Transformer model) => model.HasQuantisedWeights ? DType.F16 : DType.F32;

    /// <summary>Layers with experts.</summary>
    public int MoeLayers => _results.Layers;

    /// <summary>Tokens of a sequence fed so far.</summary>
    public int Length(int sequence = 0) => _cache.Length(sequence);

    /// <summary>Feeds tokens to one sequence. <see cref="Sample"/> tells what may follow the last of them, <see cref="Logits"/> how likely it is.</summary>
    /// <exception cref="ArgumentException">No token, or one outside the vocabulary.</exception>
    /// <exception cref="InvalidOperationException">More tokens than the capacity.</exception>
    public void Feed(ReadOnlySpan<int> tokens, int sequence = 0)
    {
        if (tokens.IsEmpty)
            throw new ArgumentException("at least one token is needed");
        RequireInVocabulary(tokens);
        int context = Length(sequence) + tokens.Length;
        while (!tokens.IsEmpty)
        {
            int count = Math.Min(tokens.Length, PrefillChunk);
            Array.Clear(_counts);
            _counts[sequence] = count;
            Pass(tokens[..count], sequences: count == tokens.Length ? 1 : 0, context);
            tokens = tokens[count..];
        }
    }

    /// <summary>Feeds one token to each of some sequences, whose contexts have the same <see cref="RopeScaling.In">rotary form</see>.</summary>
    /// <param name="sequences">In ascending order.</param>
    /// <inheritdoc cref="Feed"/>
    public void Step(ReadOnlySpan<int> tokens, ReadOnlySpan<int> sequences)
    {
        RequireInVocabulary(tokens);
        Array.Clear(_counts);
        foreach (int sequence in sequences)
            _counts[sequence] = 1;
        Pass(tokens, sequences.Length);
    }

    /// <summary>The logits [V] after the tokens last fed, of every sequence that got some; valid until the next call. A penalty that <see cref="Sample"/> took is in them.</summary>
    /// <exception cref="InvalidOperationException">Nothing was fed.</exception>
    public ReadOnlySpan<float> Logits()
    {
        Tensor logits = LastLogits();
        if (_onHost.Length < logits.Count)
            _onHost = new float[logits.Count];
        Span<float> onHost = _onHost.AsSpan(0, (int)logits.Count);
        _tape.Backend.Download(logits, onHost);
        return onHost;
    }

    /// <summary>Draws what follows the tokens last fed.</summary>
    /// <param name="samplers">One for each sequence that got some.</param>
    /// <returns>A token for each, valid until the next call.</returns>
    /// <exception cref="InvalidOperationException">Nothing was fed.</exception>
    /// <exception cref="ArithmeticException">A logit is NaN: the model is broken.</exception>
    public ReadOnlySpan<int> Sample(params ReadOnlySpan<Sampler> samplers)
    {
        Tensor logits = LastLogits();
        for (int i = 0; i < samplers.Length; i++)
        {
            ReadOnlySpan<int> seen = samplers[i].Seen;
            _tape.Backend.Sample(
                samplers.Length == 1 ? logits : logits.View([logits.Cols], (long)i * logits.Cols),
                seen.IsEmpty ? null : _tape.Constant([seen.Length], DType.I32, seen),
                samplers[i].Next(),
                _results.Id(i));
        }
        ReadOnlySpan<int> ids = _results.Ids()[..samplers.Length];
        return ids.Contains(-1) ? throw new ArithmeticException("the model's logits are not numbers (NaN): its weights are damaged") : ids;
    }

    /// <summary>How many feed-forward experts a token of the last pass used in each mixture layer.</summary>
    /// <param name="counts">[<see cref="MoeLayers"/>]</param>
    /// <param name="row">Which of the sequences that got tokens; its last one counts.</param>
    public void CountExperts(Span<int> counts, int row = 0) => _results.CountExperts(counts, row);

    /// <summary>Forgets a sequence.</summary>
    public void Clear(int sequence = 0) => _cache.Clear(sequence);

    public void Dispose()
    {
        _tape.Dispose();
        _cache.Dispose();
        _results.Dispose();
    }

    private void Pass(ReadOnlySpan<int> tokens, int sequences, int context = 0)
    {
        _tape.Reset();
        _logits = null;
        Batch batch = Batch.Continue(_tape, _cache, tokens, _counts, tasks: _tasks, context: context);
        ForwardResult result = _model.Forward(_tape, batch, _layers, _cache);
        if (sequences == 0)
            return;
        _logits = result.Logits;
        _results.Begin(sequences);
        foreach (LayerOutput layer in _layers)
            if (layer.Routing is { } r)
                _results.Take(r);
    }

    private Tensor LastLogits() => _logits ?? throw new InvalidOperationException("no token was fed");

    private void RequireInVocabulary(ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
            if ((uint)token >= (uint)_model.Config.VocabSize)
                throw new ArgumentException($"token {token} is not in the vocabulary of {_model.Config.VocabSize}");
    }
}
