using MoeFromScratch.Autograd;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Generation;

/// <summary>
/// Past keys and values of some sequences: per layer two matrices, [sequences · capacity, Hkv·K] and [sequences · capacity, Hkv·V], sequence b owning rows
/// b · capacity and on. Owned by whoever generates; freed on dispose.
/// </summary>
public sealed class KvCache : IDisposable
{
    private readonly IBackend _backend;
    private readonly LayerCache[] _layers;
    private readonly int[] _lengths;

    /// <param name="capacity">Tokens of one sequence.</param>
    /// <param name="type">F32, or F16 or BF16, to which keys and values are rounded: half the memory.</param>
    public KvCache(IBackend backend, ModelConfig config, int capacity, int sequences = 1, DType type = DType.F32)
    {
        _backend = backend;
        Capacity = capacity;
        _lengths = new int[sequences];
        SequenceTable = new int[4 * sequences];
        AttentionConfig c = config.Attention;
        int rows = checked(sequences * capacity);
        Shape keys = [rows, c.KvHeads * c.HeadDim], values = [rows, c.KvHeads * c.ValueDim];
        _layers = [.. config.Layers.Select(_ => new LayerCache(backend.New(keys, type), backend.New(values, type)))];
    }

    /// <summary>Tokens each sequence has room for.</summary>
    public int Capacity { get; }

    /// <summary>Memory for <see cref="Batch.SequenceTable"/>.</summary>
    internal int[] SequenceTable { get; }

    public LayerCache this[int layer] => _layers[layer];

    /// <summary>Tokens of a sequence that are in the cache, or reserved by a batch.</summary>
    public int Length(int sequence) => _lengths[sequence];

    /// <summary>Forgets everything.</summary>
    public void Clear() => Array.Clear(_lengths);

    /// <summary>Forgets one sequence.</summary>
    public void Clear(int sequence) => _lengths[sequence] = 0;

    /// <summary>Forgets what a sequence has beyond so many tokens.</summary>
    public void Truncate(int sequence, int length) => _lengths[sequence] = Math.Min(_lengths[sequence], length);

    internal int FirstRow(int sequence) => sequence * Capacity;

    /// <exception cref="InvalidOperationException">The cache is full.</exception>
    internal void RequireRoom(int sequence, int count)
    {
        long needed = (long)_lengths[sequence] + count;
        if (needed > Capacity)
            throw new InvalidOperationException($"the key-value cache holds {Capacity} tokens, {needed} are needed");
    }

    /// <summary>Takes room for new tokens, which there is; returns how many were there before.</summary>
    internal int Reserve(int sequence, int count)
    {
        int past = _lengths[sequence];
        _lengths[sequence] += count;
        return past;
    }

    public void Dispose()
    {
        foreach (LayerCache layer in _layers)
        {
            _backend.Free(layer.Keys);
            _backend.Free(layer.Values);
        }
    }
}

/// <summary>One layer's keys and values.</summary>
public sealed class LayerCache(Tensor keys, Tensor values)
{
    public Tensor Keys => keys;
    public Tensor Values => values;

    /// <summary>Writes the batch's keys and values into their rows and returns the whole cache.</summary>
    /// <exception cref="InvalidOperationException">The tape records: a cache carries no gradient.</exception>
    public (Tensor k, Tensor v) Append(Tape g, Tensor k, Tensor v, in Batch batch)
    {
        if (g.IsTraining)
            throw new InvalidOperationException("a key-value cache carries no gradient: train without one");
        Tensor rows = batch.CacheRows ?? throw new ArgumentException("the batch was not made for a cache");
        g.Backend.WriteRows(k, rows, keys);
        g.Backend.WriteRows(v, rows, values);
        return (keys, values);
    }
}
