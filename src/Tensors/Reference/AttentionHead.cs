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

    /// <summary>Query i of this head in q or dq: K values; in y or dy: Kv.</summary>
    public Span<float> Query(Matrix m, int i) => Part(m[_firstQuery + i], _head, _layout.Heads);

    /// <summary>Key j for this head in k or dk: K values; in v or dv: Kv. Neighbouring query heads share one key head.</summary>
    public Span<float> Key(Matrix m, int j) => Part(m[_firstKey + j], _head / (_layout.Heads / _layout.KvHeads), _layout.KvHeads);

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

    private static Span<float> Part(Span<float> row, int part, int parts) => row.Slice(part * (row.Length / parts), row.Length / parts);
}
