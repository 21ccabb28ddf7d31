using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tracing;

/// <summary>One call of a kernel that chooses, with what it went by. A router makes one or several per pass.</summary>
/// <param name="Layer">Counted from 0; null in passes whose layers nobody tells apart, and then there are no scores.</param>
/// <param name="Columns">Of the matrix, experts or groups of them.</param>
/// <param name="Scores">[rows · columns] what the choice went by; empty where it went by order alone.</param>
/// <param name="Chosen">[rows · columns]</param>
public abstract record Choice(int? Layer, int Columns, float[] Scores, bool[] Chosen)
{
    public int Rows => Chosen.Length / Columns;

    /// <summary>Whether tokens compete for an expert's room, so that any of them can change what another gets.</summary>
    public virtual bool IsAcrossTokens => false;

    /// <summary>
    /// How far the scores of a row were from the choice that another device made there: the least distance that two scores, or a sum and
    /// its threshold, must have moved towards each other. Devices that agree up to ε have margins up to about 2 ε. Infinite
    /// where no scores lead there, null where scores do not say.
    /// </summary>
    public abstract float? Margin(Choice other, int row);

    public bool Differs(Choice other, int row) => !Row(Chosen, row).SequenceEqual(Row(other.Chosen, row));

    /// <summary>The rows that decide about one of so many tokens: its own, or those of its groups of experts; none where that is not known.</summary>
    public virtual IEnumerable<int> RowsOf(int token, int tokens) =>
        Rows % tokens == 0 ? Enumerable.Range(token * (Rows / tokens), Rows / tokens) : [];

    protected ReadOnlySpan<T> Row<T>(T[] matrix, int row) => matrix.AsSpan(row * Columns, Columns);

    /// <summary>From the best of those chosen here alone down to the worst of those chosen there alone, at least 0; infinite where nobody took a place, or left one.</summary>
    protected static float Gap(ReadOnlySpan<float> scores, ReadOnlySpan<bool> here, ReadOnlySpan<bool> there)
    {
        float? best = null, worst = null;
        for (int e = 0; e < scores.Length; e++)
            if (here[e] && !there[e])
                best = MathF.Max(best ?? scores[e], scores[e]);
            else if (there[e] && !here[e])
                worst = MathF.Min(worst ?? scores[e], scores[e]);
        return best is null && worst is null ? 0 : MathF.Max(0, best - worst ?? float.PositiveInfinity);
    }
}

/// <summary>By <see cref="IBackend.SelectTopK"/>: the gap between the experts that changed places.</summary>
public sealed record TopKChoice(int? Layer, int Columns, float[] Scores, bool[] Chosen) : Choice(Layer, Columns, Scores, Chosen)
{
    public override float? Margin(Choice other, int row)
    {
        ReadOnlySpan<bool> here = Row(Chosen, row), there = Row(other.Chosen, row);
        return here.Count(true) == there.Count(true) ? Gap(Row(Scores, row), here, there) : float.PositiveInfinity;
    }
}

/// <summary>
/// By <see cref="IBackend.SelectTopP"/>: the gap between experts that changed places, or, where their number is another, the distance to
/// p of the sum that had to fall on its other side (with min-p also an expert's to its bound), whichever is more.
/// </summary>
public sealed record TopPChoice(int? Layer, int Columns, float[] Scores, bool[] Chosen, TopPRule Rule) : Choice(Layer, Columns, Scores, Chosen)
{
    public override float? Margin(Choice other, int row)
    {
        float[] probs = Row(Scores, row).ToArray();
        ReadOnlySpan<bool> there = Row(other.Chosen, row);
        int[] order = [.. Enumerable.Range(0, Columns).OrderByDescending(e => probs[e])];   // stable: ties to the lower index
        int count = there.Count(true);
        bool[] likeliest = new bool[Columns];
        foreach (int e in order.AsSpan(0, count))
            likeliest[e] = true;
        return MathF.Max(Gap(probs, likeliest, there), ToCount(Array.ConvertAll(order, e => probs[e]), Row(Chosen, row).Count(true), count));
    }

    /// <summary>How far the rule was from stopping at another number of experts.</summary>
    private float ToCount(float[] falling, int here, int there)
    {
        if (here == there)
            return 0;
        if (there == 0 || (Rule.MaxExperts > 0 && there > Rule.MaxExperts))
            return float.PositiveInfinity;
        float bound = Rule.MinP * falling[0];
        return there < here
            ? MathF.Max(0, MathF.Min(Rule.Threshold - Sum(falling, there), Rule.MinP > 0 ? falling[there] - bound : float.PositiveInfinity))
            : MathF.Max(0, MathF.Max(Sum(falling, there - 1) - Rule.Threshold, bound - falling[there - 1]));
    }

    private static float Sum(float[] falling, int count) => (float)falling.Take(count).Sum(static p => (double)p);
}

/// <summary>By <see cref="IBackend.SelectTokens"/>: in each column the gap to the token that took or left the place.</summary>
/// <param name="FirstRow">The token of the first row: a capacity may be one sequence's.</param>
public sealed record TokenChoice(int? Layer, int Columns, float[] Scores, bool[] Chosen, int FirstRow) : Choice(Layer, Columns, Scores, Chosen)
{
    public override bool IsAcrossTokens => true;

    public override IEnumerable<int> RowsOf(int token, int tokens) => token >= FirstRow && token < FirstRow + Rows ? [token - FirstRow] : [];

    public override float? Margin(Choice other, int row)
    {
        if (Scores.Length == 0)
            return null;
        float largest = 0;
        for (int e = 0; e < Columns; e++)
        {
            int own = row * Columns + e;
            if (Chosen[own] == other.Chosen[own])
                continue;
            (bool[] here, bool[] there) = (Column(Chosen, e), Column(other.Chosen, e));
            for (int t = 0; t < Rows; t++)
                if (t != row && here[t] == Chosen[own] && there[t] != here[t])
                    here[t] = there[t];                         // others with the same fate have no say
            largest = MathF.Max(largest, Gap(Column(Scores, e), here, there));
        }
        return largest;
    }

    private T[] Column<T>(T[] matrix, int column) => [.. Enumerable.Range(0, Rows).Select(t => matrix[t * Columns + column])];
}
