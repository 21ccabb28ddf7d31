using MoeFromScratch.Model.Generation;

namespace MoeFromScratch.Model.Tests.Generation;

/// <summary>Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 in a shuffled order; which tokens can come out is known by hand.</summary>
public sealed class SamplerFilterTests
{
    private static readonly float[] Logits = [.. new[] { 0.125f, 0.5f, 0.0625f, 0.25f, 0.0625f }.Select(static p => MathF.Log(p))];

    [Theory]
    [InlineData(1, 1f, 0f, "1")]
    [InlineData(2, 1f, 0f, "1 3")]
    [InlineData(4, 1f, 0f, "0 1 2 3")]          // of the two least likely, the lower id
    [InlineData(9, 1f, 0f, "0 1 2 3 4")]
    [InlineData(0, 0.4f, 0f, "1")]
    [InlineData(0, 0.7f, 0f, "1 3")]            // 0.5 is not enough, 0.75 is
    [InlineData(0, 0.76f, 0f, "0 1 3")]
    [InlineData(0, 1f, 0.4f, "1 3")]            // at least 0.2
    [InlineData(0, 1f, 0.13f, "0 1 3")]         // at least 0.065
    [InlineData(0, 1f, 1f, "1")]
    [InlineData(3, 0.9f, 0f, "0 1 3")]          // top-p counts within the top-k: 0.5 + 0.25 of 0.875 is below 0.9
    [InlineData(3, 0.85f, 0f, "1 3")]
    public void OnlyTheAllowedTokensComeOut(int topK, float topP, float minP, string expected)
    {
        Sampler sampler = new(new SamplerOptions(Temperature: 1, Seed: 5, topK, topP, minP));
        SortedSet<int> seen = [];
        for (int i = 0; i < 2000; i++)
            seen.Add(sampler.Next(Logits));
        Assert.Equal(expected, string.Join(' ', seen));
    }

    [Fact]
    public void WhatIsLeftKeepsItsProportions()
    {
        const int Draws = 30_000;
        Sampler sampler = new(new SamplerOptions(Temperature: 1, Seed: 6, TopK: 2));
        int likeliest = Enumerable.Range(0, Draws).Count(_ => sampler.Next(Logits) == 1);
        Assert.InRange(likeliest, Draws * 2 / 3 - 5 * 82, Draws * 2 / 3 + 5 * 82);   // standard deviation √(n·p·q) = 82
    }

    [Fact]
    public void MinPKnowsTheTemperature()
    {
        // At temperature 2 the shares are √: 0.0625 is 0.35 times as likely as 0.5.
        Sampler sampler = new(new SamplerOptions(Temperature: 2, Seed: 5, MinP: 0.35f));
        Assert.Equal(5, Enumerable.Range(0, 3000).Select(_ => sampler.Next(Logits)).Distinct().Count());
    }

    [Fact]
    public void ThePenaltyCountsATokenOnce()
    {
        Sampler sampler = new(new SamplerOptions(RepetitionPenalty: 2));
        Assert.Equal(1, sampler.Next([4, 3, -1], [0, 0, 0]));     // 4 / 2 is below 3
        Assert.Equal(0, sampler.Next([7, 3, -1], [0, 0, 0]));     // 7 / 2 is not, 7 / 8 would be
        Assert.Equal(0, sampler.Next([-1.5f, -1], [1]));          // −1 · 2
    }

    [Theory]
    [InlineData(-1, 1f, 0f, 1f, "top-k")]
    [InlineData(0, 0f, 0f, 1f, "top-p")]
    [InlineData(0, 1.1f, 0f, 1f, "top-p")]
    [InlineData(0, 1f, -0.1f, 1f, "min-p")]
    [InlineData(0, 1f, float.NaN, 1f, "min-p")]
    [InlineData(0, 1f, 0f, 0f, "penalty")]
    public void RefusesOptionsOutOfRange(int topK, float topP, float minP, float penalty, string part) =>
        Assert.Contains(part, Assert.Throws<ArgumentException>(() => new Sampler(new SamplerOptions(1, 0, topK, topP, minP, penalty))).Message, StringComparison.Ordinal);
}
