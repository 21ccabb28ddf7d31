namespace MoeFromScratch.Tensors.Cpu;

/// <summary>One row of the seam's [B, 4] sequences.</summary>
internal readonly struct Sequence
{
    public readonly int Query, Queries, Key, Keys;
}

/// <summary>The tensors of an attention as addresses, and who sees what.</summary>
internal unsafe struct AttentionView
{
    public float* Q, K, V, Y, Lse, Sinks;
    public Sequence* Sequences;
    public int* Visible;
    public int VisibleCols;
    public AttentionLayout Layout;

    /// <summary>Distance between rows of q and its gradient.</summary>
    public readonly long QRow => (long)Layout.Heads * Layout.HeadDim;

    /// <summary>Distance between rows of k and its gradient.</summary>
    public readonly long KRow => (long)Layout.KvHeads * Layout.HeadDim;

    /// <summary>Distance between rows of v and its gradient.</summary>
    public readonly long VRow => (long)Layout.KvHeads * Layout.ValueDim;

    /// <summary>Distance between rows of y and its gradient.</summary>
    public readonly long YRow => (long)Layout.Heads * Layout.ValueDim;

    /// <summary>Query heads that share a key head.</summary>
    public readonly int Group => Layout.Heads / Layout.KvHeads;

    /// <summary>The keys First … End − 1 are all that queries i … j of a sequence may see; the mask may hide more.</summary>
    public readonly (int First, int End) Reach(in Sequence s, int i, int j)
    {
        int offset = s.Keys - s.Queries, first = 0, end = s.Keys;
        if (Layout.Window > 0)
            first = Math.Max(0, i + offset - Layout.Window + 1);
        if (Layout.Causal || Layout.Window > 0)
            end = Math.Min(end, j + offset + 1);
        return (first, Math.Max(first, end));
    }

    /// <summary>scores[j] = scale · scores[j], −∞ where query i does not see key first + j.</summary>
    public readonly void ScaleAndHide<TLanes>(float* scores, in Sequence s, int i, int first, int count) where TLanes : struct, ILanes<TLanes>
    {
        RowMath<TLanes>.Scale(Layout.Scale, scores, count);
        (int from, int to) = Reach(s, i, i);
        for (int j = 0; j < Math.Min(from - first, count); j++)
            scores[j] = float.NegativeInfinity;
        for (int j = Math.Max(0, to - first); j < count; j++)
            scores[j] = float.NegativeInfinity;
        if (Visible == null)
            return;
        int* visible = Visible + (long)(s.Query + i) * VisibleCols + first;
        for (int j = 0; j < count; j++)
            if (visible[j] == 0)
                scores[j] = float.NegativeInfinity;
    }
}
