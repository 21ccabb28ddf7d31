using MoeFromScratch.Contract;
using MoeFromScratch.Model.Evaluation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Evaluation;

public sealed class RoutingSweepTests
{
    private static readonly RoutingOptions None = new([], [], []);

    [Fact]
    public void ARangeIsItsPoints()
    {
        IReadOnlyList<SweepPoint> points = RoutingSweep.Parse("router-top-p=0.1..0.9", None);
        Assert.Equal(["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"], points.Select(static p => p.Setting["router-top-p=".Length..]));
        Assert.Equal([0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f], points.SelectMany(static p => p.Routing.TopP));
        Assert.Equal(["router-top-p=0.2", "router-top-p=0.45", "router-top-p=0.7"], RoutingSweep.Parse("router-top-p=0.2..0.8:0.25", None).Select(static p => p.Setting));
        Assert.Equal([1, 2, 3, 4], RoutingSweep.Parse("router-top-k=1..4", None).SelectMany(static p => p.Routing.TopK));
        RoutingOptions common = new([0.9f], [], []);
        Assert.Equal([1, 3, 5], RoutingSweep.Parse("max-experts=1..6:2", common).SelectMany(static p => p.Routing.MaxExperts));
        Assert.All(RoutingSweep.Parse("max-experts=1..2", common), static p => Assert.Equal([0.9f], p.Routing.TopP));
    }

    [Theory]
    [InlineData("router-top-p", "is no sweep")]
    [InlineData("router-top-p=0.5", "is no sweep")]
    [InlineData("router-top-p=0.5..0.1", "is no sweep")]
    [InlineData("router-top-p=-1..1", "is no sweep")]
    [InlineData("router-top-p=0..1:0", "is no sweep")]
    [InlineData("router-top-p=0..1:0.0001", "is no sweep")]
    [InlineData("router-top-p=a..b", "is no sweep")]
    [InlineData("router-top-p=0..9:0.0000000000000000000000000001", "is no sweep")]
    [InlineData("router-top-p=0..79228162514264337593543950335:79228162514264337593543950335", "is no sweep")]
    [InlineData("router-top-k=2..2147483648:2147483648", "is no sweep")]
    [InlineData("router-top-k=1..2.5:0.5", "not a fraction")]
    [InlineData("temperature=0..1", "no sweep of 'temperature'")]
    [InlineData("max-experts=1..2", "both fixed and swept")]
    public void AnythingElseIsRefused(string text, string part) =>
        Assert.Contains(part, Assert.Throws<ArgumentException>(() => RoutingSweep.Parse(text, new([], [], [3]))).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("mixtral", "router-top-k=1..5", "router-top-k=5: --router-top-k must lie between 1 and the number of experts 4, not be 5")]
    [InlineData("mixtral", "router-top-k=0..2", "router-top-k=0: --router-top-k must")]
    [InlineData("mixtral", "max-experts=1..2", "this model's routers go by top-k")]
    [InlineData("dynamic-moe", "max-experts=0..2", "max-experts=0: --router-max-experts must be at least 1, not 0")]
    [InlineData("dynamic-moe", "router-top-p=0..1", "router-top-p=0: --router-top-p must be above 0 and at most 1, not 0")]
    [InlineData("dynamic-moe", "router-top-p=1..2:0.5", "router-top-p=1.5: --router-top-p must be above 0 and at most 1, not 1.5")]
    [InlineData("dense-llama", "router-top-p=0.1..0.2", "the model is dense")]
    [InlineData("openmoe", "router-top-p=0.1..0.2", "cannot be changed")]
    public void WhatTheRouterDoesNotHaveIsRefused(string golden, string sweep, string part)
    {
        using IBackend backend = Machines.Make(Machines.Reference);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend);
        Assert.Contains(part, Assert.Throws<ArgumentException>(() => RoutingSweep.Check(model.Config, RoutingSweep.Parse(sweep, None))).Message, StringComparison.Ordinal);
    }

    /// <summary>Never fewer with a higher bound, and all of them at the end.</summary>
    [Theory]
    [InlineData("router-top-p=0.1..1", 6)]
    [InlineData("router-top-k=1..6", 6)]
    [InlineData("max-experts=1..6", null)]
    public void ExpertsRiseWithTheSetting(string sweep, int? most)
    {
        GoldenCase golden = new("dynamic-moe");
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        EvaluationCost[] costs = [.. RoutingSweep.Parse(sweep, None).Select(point =>
        {
            using LanguageModel model = LanguageModel.Load(golden.Folder, backend, routing: point.Routing);
            using Scorer scorer = new(model);
            return Perplexity.Of(scorer, golden.Input.Ids, 1).Cost;
        })];
        foreach ((EvaluationCost less, EvaluationCost more) in costs.Zip(costs.Skip(1)))
        {
            Assert.True(less.ExpertsPerToken <= more.ExpertsPerToken, $"{less.ExpertsPerToken} before {more.ExpertsPerToken}");
            Assert.True(less.ActiveParameters <= more.ActiveParameters);
        }
        Assert.Equal(1, costs[0].ExpertsPerToken!.Value, 0.05);
        Assert.True(costs[^1].ExpertsPerToken > 1.5);
        if (most is { } all)
            Assert.Equal(all, costs[^1].ExpertsPerToken!.Value, 1e-9);
    }
}
