using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    [Theory, MemberData(nameof(TokensAndExperts))]
    public void SelectTokens_keeps_the_best_of_each_expert_as_far_as_there_is_room(int T, int E)
    {
        foreach (int most in new[] { 0, 1, 3, T })
            foreach (Func<Trial, Tensor?> scores in new Func<Trial, Tensor?>[] { t => Tied(t, T, E), t => t.Normal([T, E]), static _ => null })
                Agree(Exact, t =>
                {
                    Slots slots = new(t.Noise(12), T, E);
                    int[] room = [.. Enumerable.Range(0, E).Select(e => Math.Max(0, most - e / 2 % 2))];
                    t.Backend.SelectTokens(t.Input([T, E], slots.Mask), scores(t), room, t.Output("kept", [T, E]));
                });
    }

    [Fact]
    public void SelectTokens_takes_the_higher_then_the_earlier()
    {
        float[] mask = [1, 1, 1, 0, 1, 1, 1, 1], scores = [3, 1, 5, 9, 5, 1, 4, 1];
        Assert.Equal([0, 1, 1, 0, 1, 1, 0, 0], Kept(scores));
        Assert.Equal([1, 1, 1, 0, 0, 1, 0, 0], Kept(null));

        float[] Kept(float[]? by) => Trial.Run(Subject, 1, t => t.Backend.SelectTokens(
            t.Input([4, 2], mask), by is null ? null : t.Input([4, 2], by), [2, 2], t.Output("kept", [4, 2]))).Single().Floats;
    }

    /// <summary>Slot lists have room for so many, and nobody gets an expert that was not chosen.</summary>
    [Theory, InlineData(5), InlineData(40)]
    public void SelectTokens_keeps_as_many_of_the_chosen_where_scores_are_no_numbers(int T)
    {
        float[] mask = [.. Enumerable.Range(0, 2 * T).Select(static i => i % 3 == 0 ? 0f : 1)], scores = [.. Enumerable.Range(0, 2 * T).Select(static i => i % 5 < 3 ? float.NaN : i)];
        foreach (int room in new[] { 1, 3, T })
        {
            float[] kept = Trial.Run(Subject, 1, t => t.Backend.SelectTokens(t.Input([T, 2], mask), t.Input([T, 2], scores), [room, room], t.Output("kept", [T, 2]))).Single().Floats;
            Assert.All(kept.Zip(mask), static p => Assert.True(p.First <= p.Second));
            for (int e = 0; e < 2; e++)
                Assert.Equal(Math.Min(room, Column(mask, e)), Column(kept, e));
        }

        static float Column(float[] x, int e) => x.Where((_, i) => i % 2 == e).Sum();
    }

    [Theory, MemberData(nameof(TokensAndExperts))]
    public void BandSoftmax_shares_with_what_is_only_just_lower(int T, int E)
    {
        foreach (float band in new[] { 0, 0.02f, 0.5f, 3 })
            foreach (bool tied in new[] { false, true })
                Agree(Sums, t => t.Backend.BandSoftmax(Near(t, T, E, tied), Chosen(t, T, E), band, t.Output("y", [T, E])));
    }

    [Theory, MemberData(nameof(TokensAndExperts))]
    public void BandSoftmaxGrad_adds_the_way_back(int T, int E)
    {
        foreach (float band in new[] { 0, 0.02f, 0.5f, 3 })
            foreach (bool tied in new[] { false, true })
                Agree(Sums, t =>
                {
                    Tensor x = Near(t, T, E, tied), mask = Chosen(t, T, E), y = t.Output("y", [T, E]);
                    t.Backend.BandSoftmax(x, mask, band, y);
                    t.Backend.BandSoftmaxGrad(x, mask, band, y, t.Normal([T, E]), t.Accumulator("dx", [T, E]));
                });
    }

    /// <summary>Taken one by one, each among those still there: 4 beside 3.9, then 3.9 alone, since 3 is too far below it.</summary>
    [Fact]
    public void BandSoftmax_looks_at_what_was_not_taken_before()
    {
        float[] y = Trial.Run(Subject, 1, t => t.Backend.BandSoftmax(
            t.Input([2, 4], [3, 3.9f, 4, -5, 0, 0, -1, 7]), t.Input([2, 4], [1f, 1, 1, 0, 1, 1, 0, 0]), 0.05f, t.Output("y", [2, 4]))).Single().Floats;
        float first = 1 / (1 + MathF.Exp(-0.1f));
        Assert.All(y.Zip([1, 1, first, 0, 0.5f, 1, 0, 0]), static p => Assert.Equal(p.Second, p.First, 1e-6f));
    }

    private static Tensor Near(Trial t, int T, int E, bool tied) => tied ? Tied(t, T, E) : t.Normal([T, E], scale: 2);

    private static Tensor Chosen(Trial t, int T, int E) => t.Input([T, E], new Slots(t.Noise(13), T, E).Mask);
}
