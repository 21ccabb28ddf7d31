using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Tracing;

/// <summary>A backend whose routers' logits are a little off: some tokens go elsewhere, and are found; forced, none does.</summary>
public sealed class RoutingComparisonTests
{
    private const float Little = 0.05f;

    /// <summary>Logits that move by at most δ move gaps between probabilities, and sums of them to p, by at most δ; and normal noise is below five deviations.</summary>
    private const float LittleMargin = 5 * Little;

    public static TheoryData<string> Known { get; } =
        [.. Checkpoints.Variants.All.Where(static v => v.Value.Layers.Any(static l => l is MoeConfig)).Select(static v => v.Key)];

    public static TheoryData<string> Exotic { get; } = ["base", "expert choice", "capacity by probability", "capacity by position", "capacity by choice"];

    [Theory]
    [InlineData("mixtral")]
    [InlineData("dynamic-moe")]
    public void TellsFlipsFromDrift(string family)
    {
        ModelConfig config = Tiny.Config(family);
        Pair free = Run(config, Little, forced: false), forced = Run(config, Little, forced: true);

        Assert.Equal(2 * Tokens, free.Routing.Decisions);
        Assert.InRange(free.Routing.First.Count, 1, Tokens);
        Assert.All(free.Routing.First, static f => Assert.InRange(f.Margin!.Value, 0, LittleMargin));
        Assert.NotEmpty(free.Routing.Beyond);               // the noise is no rounding
        Assert.Equal(free.Routing.First.Select(static f => f.Margin), free.Routing.First.Select(static f => f.Margin).OrderDescending());

        Assert.False(free.Routing.IsForced);
        Assert.True(forced.Routing.IsForced);
        Assert.Equal(0, forced.Moved);
        Assert.Equal(0, forced.Routing.Later);
        Assert.NotEmpty(forced.Routing.First);              // by itself it would have flipped
        Assert.All(forced.Routing.First, static f => Assert.InRange(f.Margin!.Value, 0, LittleMargin));

        // What is left is the weights' noise; without forcing, tokens went through other experts, and gradients to them.
        foreach (string name in new[] { "logits", "final_norm", "train.logits" })
            Assert.True(forced.Tensors.Largest[name] < 0.3f * free.Tensors.Largest[name], $"{name}: {forced.Tensors.Largest[name]} and {free.Tensors.Largest[name]}");
        Assert.True(forced.Tensors.Largest["logits"] > 0, "weights are the second device's own");
    }

    /// <summary>All routers: every token that moved is a first flip or a later one, margins are known, and forcing leaves none.</summary>
    [Theory]
    [MemberData(nameof(Known))]
    [MemberData(nameof(Exotic))]
    public void EveryRouterIsUnderstood(string variant)
    {
        ModelConfig config = Config(variant);
        Pair free = Run(config, noise: 0.3f, forced: false), forced = Run(config, noise: 0.3f, forced: true, trains: false);
        Assert.Equal(free.Moved, free.Routing.First.Count + free.Routing.Later);
        Assert.All(free.Routing.First, static f => Assert.True(f.Margin is { } m && float.IsFinite(m), $"{f}"));
        Assert.Equal(0, forced.Moved);
        Assert.True(free.Moved == 0 || forced.Routing.First.Count > 0);
    }

    [Fact]
    public void TheSameBackendDoesNotFlip()
    {
        Pair same = Run(Tiny.Config("mixtral"), noise: 0, forced: false);
        Assert.Empty(same.Routing.First);
        Assert.Equal(0, same.Routing.Later);
        Assert.Equal(0, same.Tensors.Largest.Values.Max());
    }

    /// <summary>Only the first layer is off: what flips behind it in the same sequence follows, also of other tokens.</summary>
    [Fact]
    public void WhatFollowsIsToldApart()
    {
        Pair pair = Run(Tiny.Config("mixtral"), noise: 0.1f, forced: false, layer: 0);
        int[] flipped = [.. pair.Routing.First.Where(static f => f.Layer == 0).Select(static f => f.Sequence).Distinct()];
        Assert.InRange(flipped.Length, 1, Sequences);
        Assert.True(pair.Routing.Later > 0);
        Assert.DoesNotContain(pair.Routing.First, f => f.Layer == 1 && flipped.Contains(f.Sequence));
    }

    /// <summary>Where tokens compete for an expert, a flip of one sequence reaches the others.</summary>
    [Fact]
    public void CompetitionCarriesFlipsToOtherSequences()
    {
        Pair pair = Run(Config("expert choice"), noise: 0.1f, forced: false, layer: 0);
        Assert.Contains(pair.Routing.First, static f => f.Layer == 0);
        Assert.DoesNotContain(pair.Routing.First, static f => f.Layer == 1);
        Assert.True(pair.Routing.Later > 0);
    }

    [Fact]
    public void MarginsDecideWhatIsReal()
    {
        RoutingComparison routing = new(false, 9, [new(0, 0, 0, null), new(0, 0, 1, float.NaN), new(0, 0, 2, 1e-3f), new(0, 0, 3, 1e-4f), new(1, 0, 4, 0)], 0);
        Assert.Equal([1, 2], routing.Beyond.Select(static f => f.Token));
        Assert.Equal([3, 4], routing.Within.Select(static f => f.Token));
        Assert.Equal([0], routing.Unknown.Select(static f => f.Token));
    }

    [Fact]
    public void OtherPassesCannotBeForced()
    {
        using IBackend backend = new ReferenceBackend();
        ChoiceBackend first = new(backend), second = new(backend, first);
        ModelConfig config = Tiny.Config("mixtral");
        using LanguageModel model = LanguageModel.Create(first, Tiny.Family("mixtral"), config, seed: 1), again = LanguageModel.Create(second, Tiny.Family("mixtral"), config, seed: 1);
        Trace a = new(), b = new();
        Tracer.Forward(a, model, Tiny.Input(config, 1, 4));
        Assert.Contains("other passes", Assert.Throws<InvalidOperationException>(() => Tracer.Forward(b, again, Tiny.Input(config, 1, 5))).Message, StringComparison.Ordinal);
    }

    private const int Sequences = 5, Length = 8, Tokens = Sequences * Length;

    /// <param name="Moved">Pairs of a token and a layer whose experts differ.</param>
    private sealed record Pair(TraceComparison Tensors, RoutingComparison Routing, int Moved);

    private static Pair Run(ModelConfig config, float noise, bool forced, int? layer = null, bool trains = true)
    {
        using IBackend backend = new ReferenceBackend();
        ChoiceBackend first = new(backend), second = new(new ShakenRouters(backend, noise, layer), forced ? first : null);
        Trace a = Traced(first), b = Traced(second);
        int moved = 0;
        foreach ((string name, Tensor mask) in a.Tensors.Where(static t => t.Name.EndsWith(".expert_mask", StringComparison.Ordinal)))
            for (int t = 0; t < mask.Rows; t++)
                moved += mask.Host<long>().Slice(t * mask.Cols, mask.Cols).SequenceEqual(b.Find(name)!.Host<long>().Slice(t * mask.Cols, mask.Cols)) ? 0 : 1;
        return new Pair(TraceComparison.Of(a, b), RoutingComparison.Of((a, first), (b, second)), moved);

        Trace Traced(ChoiceBackend on)
        {
            using LanguageModel model = LanguageModel.Create(on, Tiny.Family("moe_from_scratch"), config, seed: 2);
            TraceInput input = Tiny.Input(config, Sequences, Length);
            Trace trace = new();
            Tracer.Forward(trace, model, input);
            if (trains)
                Tracer.Gradients(trace, model, input);
            return trace;
        }
    }

    private static ModelConfig Config(string variant)
    {
        if (Checkpoints.Variants.All.TryGetValue(variant, out ModelConfig? known))
            return known with { InitStd = 0.3f };
        RouterConfig router = variant switch
        {
            "base" => new BaseRouterConfig(),
            "expert choice" => new ExpertChoiceRouterConfig(1.5f),
            _ => new SwitchRouterConfig(2) { Capacity = new CapacityConfig(1, Policy: variant[12..] switch { "probability" => DropPolicy.Probs, "position" => DropPolicy.Position, _ => DropPolicy.Choice }) },
        };
        return Tiny.Config("mixtral") with { Layers = [.. Enumerable.Repeat(new MoeConfig(router, [new FfnExpertsConfig(5, 13)]), 2)], RouterLosses = [] };
    }

    /// <summary>Adds normal noise to what a router's matrix gives, in one layer or all.</summary>
    private sealed class ShakenRouters(IBackend inner, float size, int? layer) : PassingBackend(inner)
    {
        public override void Linear(Tensor x, Tensor w, Tensor y)
        {
            base.Linear(x, w, y);
            if (w.Name?.Split('.') is not { } path || !path.Contains("gate") || (layer is { } only && !path.Contains($"{only}")))
                return;
            Noise noise = new((ulong)path.Length);
            for (int i = 0; i < y.Floats.Length; i++)
                y.Floats[i] += size * noise.Normal(i);
        }
    }
}
