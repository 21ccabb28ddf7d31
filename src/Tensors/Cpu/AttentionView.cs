namespace MoeFromScratch.Tensors.Cpu;

/// <summary>One row of the seam's [B, 4] sequences.</summary>
internal readonly struct Sequence
{
    public readonly int Query, Queries, Key, Keys;
}

/// <summary>The tensors of an attention as addresses, and who sees what.</summary>
internal unsafe struct AttentionView
{
    public float* Q, Y, Lse, Sinks;

    /// <summary>Keys and values, of the type <see cref="Stored"/>.</summary>
    public void* K, V;
    public DType Stored;
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

    /// <summary>Only the queries First … End − 1 may see one of the keys i … j: <see cref="Reach"/> the other way round.</summary>
    public readonly (int First, int End) Seers(in Sequence s, int i, int j)
    {
        int offset = s.Keys - s.Queries, first = 0, end = s.Queries;
        if (Layout.Causal || Layout.Window > 0)
            first = Math.Max(0, i - offset);
        if (Layout.Window > 0)
            end = Math.Min(end, j - offset + Layout.Window);
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

    /// <summary>
    /// The same for a panel that stands on end: scores[j · row + i] = −∞ where query first + i does not see key + j, for
    /// i below <paramref name="queries"/> and j below <paramref name="keys"/>. Only a panel at the rim of a reach has any.
    /// </summary>
    public readonly void HideInPanel(float* scores, long row, in Sequence s, int first, int queries, int key, int keys)
    {
        (int latest, int end) = (Reach(s, first + queries - 1, first + queries - 1).First, Reach(s, first, first).End);
        if (Visible == null && latest <= key && end >= key + keys)
            return;
        for (int i = 0; i < queries; i++)
        {
            (int from, int to) = Reach(s, first + i, first + i);
            for (int j = 0; j < Math.Min(from - key, keys); j++)
                scores[j * row + i] = float.NegativeInfinity;
            for (int j = Math.Max(0, to - key); j < keys; j++)
                scores[j * row + i] = float.NegativeInfinity;
            if (Visible == null)
                continue;
            int* visible = Visible + (long)(s.Query + first + i) * VisibleCols + key;
            for (int j = 0; j < keys; j++)
                if (visible[j] == 0)
                    scores[j * row + i] = float.NegativeInfinity;
        }
    }
}
