using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Tracing;

/// <summary>How far scores were from another choice: by hand, and never more than what the scores moved.</summary>
public sealed class ChoiceTests
{
    private static readonly float[] Scores = [0.3f, 0.5f, 0.05f, 0.15f];

    [Theory]
    [InlineData("1 0", "1 3", 0.15f)]       // 0 and 3 change places: 0.3 − 0.15
    [InlineData("1 0", "3 2", 0.45f)]       // the best must fall below the worst
    [InlineData("1 0", "1", float.PositiveInfinity)]
    public void TopKIsAGap(string here, string there, float margin) =>
        Near(margin, new TopKChoice(0, 4, Scores, Mask(here)).Margin(new TopKChoice(0, 4, [], Mask(there)), 0));

    [Theory]
    [InlineData(0.7f, 0, 0, "1 0", "1", 0.2f)]          // p − 0.5
    [InlineData(0.7f, 0, 0, "1 0", "1 0 3", 0.1f)]      // 0.8 − p
    [InlineData(0.7f, 0, 0, "1 0", "1 0 3 2", 0.25f)]   // 0.95 − p
    [InlineData(0.7f, 0, 0, "1 0", "1 3", 0.15f)]       // as top-k
    [InlineData(0.7f, 0, 0, "1 0", "3", 0.35f)]         // 0.5 − 0.15 is more than p − 0.5
    [InlineData(0.7f, 2, 0, "1 0", "1 0 3", float.PositiveInfinity)]
    [InlineData(0.7f, 0, 0, "1 0", "", float.PositiveInfinity)]
    [InlineData(1f, 0, 0.4f, "1 0", "1", 0.1f)]         // 0.3 − 0.4 · 0.5
    [InlineData(1f, 0, 0.4f, "1 0", "1 0 3", 0.05f)]    // 0.4 · 0.5 − 0.15
    public void TopPIsAGapOrADistanceToP(float p, int max, float minP, string here, string there, float margin)
    {
        TopPRule rule = new(p, MaxExperts: max, MinP: minP);
        Near(margin, new TopPChoice(0, 4, Scores, Mask(here), rule).Margin(new TopPChoice(0, 4, [], Mask(there), rule), 0));
    }

    /// <summary>Three tokens, two experts; the first has room for one, the second for two.</summary>
    [Fact]
    public void TokensLosePlacesToOthers()
    {
        float[] scores = [0.9f, 0.2f, 0.6f, 0.7f, 0.1f, 0.5f];
        TokenChoice here = new(0, 2, scores, [true, false, false, true, false, true], 0), there = new(0, 2, [], [false, true, true, true, false, false], 0);
        Near(0.3f, here.Margin(there, 0));      // lost 0.9 to 0.6, won 0.2 from 0.5
        Near(0.3f, here.Margin(there, 1));
        Near(0.3f, here.Margin(there, 2));
        Assert.True(here.IsAcrossTokens);
        Assert.Null(new TokenChoice(0, 2, [], here.Chosen, 0).Margin(there, 0));
        Assert.Equal([1], new TokenChoice(0, 2, scores, here.Chosen, 4).RowsOf(5, 8));
        Assert.Empty(here.RowsOf(3, 8));
    }

    [Fact]
    public void GroupsOfExpertsAreRowsOfTheirToken()
    {
        TopKChoice choice = new(0, 2, [], new bool[12]);
        Assert.Equal([4, 5], choice.RowsOf(2, 3));
        Assert.Empty(choice.RowsOf(2, 4));
    }

    /// <summary>Scores that move by at most ε reach choices at margins up to 2 ε, of sums over E of them E ε, and many do.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(0.5f)]
    [InlineData(0.8f)]
    public void NoMarginExceedsWhatTheScoresMoved(float p)
    {
        const int Rows = 4000, Experts = 7;
        const float Moved = 0.01f, Rounding = 1e-6f;
        using IBackend backend = new ReferenceBackend();
        Noise noise = new(3);
        float[] a = new float[Rows * Experts], b = new float[a.Length];
        for (int i = 0; i < a.Length; i++)
            (a[i], b[i]) = (noise.Uniform(2 * i) / 4, 0);
        for (int i = 0; i < a.Length; i++)
            b[i] = MathF.Max(0, a[i] + Moved * (2 * noise.Uniform(2 * i + 1) - 1));
        Choice here = Choose(a), there = Choose(b);
        List<float> margins = [.. Enumerable.Range(0, Rows).Where(r => here.Differs(there, r)).Select(r => here.Margin(there, r)!.Value)];
        float limit = p == 0 ? 2 * Moved : Experts * Moved;
        Assert.InRange(margins.Count, Rows / 50, Rows / 2);
        Assert.All(margins, m => Assert.InRange(m, 0, limit + Rounding));
        Assert.True(margins.Max() > limit / 4, $"{margins.Max()}");

        Choice Choose(float[] scores)
        {
            Tensor x = backend.From([Rows, Experts], scores), mask = backend.New(x.Shape);
            TopPRule rule = new(p);
            if (p == 0)
                backend.SelectTopK(x, 3, mask);
            else
                backend.SelectTopP(x, rule, mask);
            bool[] chosen = Array.ConvertAll(backend.ToFloats(mask), static m => m > 0);
            return p == 0 ? new TopKChoice(0, Experts, scores, chosen) : new TopPChoice(0, Experts, scores, chosen, rule);
        }
    }

    private static bool[] Mask(string experts)
    {
        int[] chosen = [.. experts.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static e => e[0] - '0')];
        return [.. Enumerable.Range(0, 4).Select(chosen.Contains)];
    }

    private static void Near(float expected, float? margin)
    {
        Assert.NotNull(margin);
        Assert.Equal(expected, margin.Value, 1e-6f);
    }
}
