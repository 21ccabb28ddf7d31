namespace MoeFromScratch.Tensors.Reference;

/// <summary>One head of one packed sequence: where its queries and keys lie, and which of them meet.</summary>
internal readonly ref struct AttentionHead
{
    private readonly AttentionLayout _layout;
    private readonly int _head, _firstQuery, _firstKey;
    private readonly Tensor? _visible;

    /// <param name="sequence">(query start, query count, key start, key count)</param>
    public AttentionHead(in AttentionLayout layout, int head, ReadOnlySpan<int> sequence, Tensor? visible)
    {
        (_layout, _head, _visible) = (layout, head, visible);
        (_firstQuery, Queries, _firstKey, Keys) = (sequence[0], sequence[1], sequence[2], sequence[3]);
    }

    public int Queries { get; }
    public int Keys { get; }

    /// <summary>The packed row of query i.</summary>
    public int QueryRow(int i) => _firstQuery + i;

    /// <summary>Query i of this head in q, y or one of their gradients: K values.</summary>
    public Span<float> Query(Matrix m, int i) => m[_firstQuery + i].Slice(_head * _layout.HeadDim, _layout.HeadDim);

    /// <summary>Key j for this head in k, v or one of their gradients: K values. Neighbouring query heads share one key head.</summary>
    public Span<float> Key(Matrix m, int j)
    {
        int kvHead = _head / (_layout.Heads / _layout.KvHeads);
        return m[_firstKey + j].Slice(kvHead * _layout.HeadDim, _layout.HeadDim);
    }

    /// <summary>Whether query i sees key j. The last query stands at the last key.</summary>
    public bool Sees(int i, int j)
    {
        int position = Keys - Queries + i;
        if ((_layout.Causal || _layout.Window > 0) && j > position)
            return false;
        if (_layout.Window > 0 && j <= position - _layout.Window)
            return false;
        return _visible is null || _visible.Ints[QueryRow(i) * _visible.Cols + j] != 0;
    }
}
