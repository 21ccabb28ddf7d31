using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Routers against tables filled in by hand. The gate is the identity, so a token made of ln p has probabilities p.</summary>
public sealed class TableTests
{
    private const int E = 4;

    /// <summary>Probabilities of eight tokens.</summary>
    private static readonly float[,] Tokens =
    {
        { 0.70f, 0.10f, 0.15f, 0.05f },
        { 0.10f, 0.20f, 0.30f, 0.40f },
        { 0.25f, 0.25f, 0.25f, 0.25f },
        { 0.05f, 0.55f, 0.30f, 0.10f },
        { 0.02f, 0.03f, 0.05f, 0.90f },
        { 0.40f, 0.10f, 0.10f, 0.40f },
        { 0.30f, 0.20f, 0.30f, 0.20f },
        { 0.61f, 0.13f, 0.13f, 0.13f },
    };

    public static TheoryData<string> AllMachines { get; } = [.. Machines.All];

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TopPTakesTheLikeliestUntilTheSumIsAboveP(string machine) =>
        Check(machine, new TopPRouterConfig(0.6f), renormalized: false, ["0", "23", "012", "12", "3", "03", "012", "0"]);

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TopPOfNothingTakesOne(string machine) =>
        Check(machine, new TopPRouterConfig(0), renormalized: false, ["0", "3", "0", "1", "3", "0", "0", "0"]);

    /// <summary>Four equal probabilities sum to exactly 0.5 after two: not above it yet.</summary>
    [Theory]
    [MemberData(nameof(AllMachines))]
    public void ReachingPExactlyIsNotEnough(string machine) =>
        Check(machine, new TopPRouterConfig(0.5f), renormalized: false, ["0", "23", "012", "1", "3", "03", "02", "0"]);

    /// <summary>Where it is, after two of four equal probabilities.</summary>
    [Theory]
    [MemberData(nameof(AllMachines))]
    public void ReachingPIsEnoughWhereItNeedNotBePassed(string machine) =>
        Check(machine, new TopPRouterConfig(0.5f) { Strict = false }, renormalized: false, ["0", "23", "01", "1", "3", "03", "02", "0"]);

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void MinPLeavesOutTheUnlikely(string machine) =>
        Check(machine, new TopPRouterConfig(1) { MinP = 0.6f }, renormalized: false, ["0", "23", "0123", "1", "3", "03", "0123", "0"]);

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TopPOfAllTakesAll(string machine)
    {
        string[] all = [.. Enumerable.Repeat("0123", 8)];
        Check(machine, new TopPRouterConfig(1), renormalized: false, all);
        Check(machine, new TopPRouterConfig(7), renormalized: false, all);
    }

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TopPStopsAtItsLimit(string machine) =>
        Check(machine, new TopPRouterConfig(0.6f, MaxExpertsPerToken: 2), renormalized: false, ["0", "23", "01", "12", "3", "03", "02", "0"]);

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TopKTakesK(string machine)
    {
        Check(machine, new TopKRouterConfig(1), renormalized: true, ["0", "3", "0", "1", "3", "0", "0", "0"]);
        Check(machine, new TopKRouterConfig(2), renormalized: true, ["02", "23", "01", "12", "23", "03", "02", "01"]);
        Check(machine, new TopKRouterConfig(2, Renormalize: false), renormalized: false, ["02", "23", "01", "12", "23", "03", "02", "01"]);
        Check(machine, new TopKRouterConfig(4), renormalized: true, [.. Enumerable.Repeat("0123", 8)]);
    }

    [Fact]
    public void SettingsOutOfRangeAreRefused()
    {
        foreach (RouterConfig config in new RouterConfig[]
            { new TopKRouterConfig(0), new TopKRouterConfig(5), new TopPRouterConfig(-0.1f), new TopPRouterConfig(float.NaN), new TopPRouterConfig(0.5f, -1), new TopPRouterConfig(0.5f) { MinP = 2 } })
            Assert.Throws<ArgumentException>(() => Check(Machines.Reference, config, renormalized: false, []));
    }

    /// <summary>Eight tokens stay on the device, nine and more cross to the host once: the slots are the same.</summary>
    private static void Check(string machine, RouterConfig config, bool renormalized, string[] chosen)
    {
        using IBackend backend = Machines.Make(machine);
        using WeightStore weights = new(backend, new IdentityGate(), trainable: false);
        MoeConfig moe = new(config, [new FfnExpertsConfig(E, 3)]);
        Router router = config.Build(Tiny.Config("mixtral") with { HiddenSize = E }, moe, weights.Root["mlp"]);
        foreach (int repeats in new[] { 1, 2 })
        {
            int tokens = repeats * 8;
            using Tape g = Tape.Inference(backend);
            float[] p = [.. Enumerable.Range(0, tokens * E).Select(static i => Tokens[i / E % 8, i % E])];
            Tensor x = g.Constant<float>([tokens, E], DType.F32, [.. p.Select(static p => MathF.Log(p))]);
            Routing r = router.Route(g, x, new RouterContext());

            float[] selected = [.. Enumerable.Range(0, tokens * E).Select(i => chosen[i / E % 8].Contains((char)('0' + i % E)) ? 1f : 0f)];
            float[] weight = [.. p.Zip(selected, static (p, s) => p * s)];
            if (renormalized)
                weight = [.. weight.Select((w, i) => w / weight.AsSpan(i / E * E, E).ToArray().Sum())];
            Close.Within("probs", p, backend.ToFloats(r.Probs), 1e-6f, 0);
            Assert.Equal(selected, backend.ToFloats(r.Selected));
            Assert.Equal(selected, backend.ToFloats(r.Kept));
            Close.Within("weights", weight, backend.ToFloats(r.Weights), 1e-6f, 0);

            (int token, int expert)[] slots =
                [.. from e in Enumerable.Range(0, E) from t in Enumerable.Range(0, tokens) where selected[t * E + e] > 0 select (t, e)];
            int live = slots.Length;
            int[] offsets = [.. Enumerable.Range(0, E + 1).Select(e => slots.Count(s => s.expert < e))];
            Assert.Equal(offsets, backend.ToInts(r.Offsets));
            Assert.Equal(slots.Select(static s => s.token), backend.ToInts(r.Token)[..live]);
            Assert.Equal(slots.Select(static s => s.expert), backend.ToInts(r.Expert)[..live]);
            Close.Within("slot weights", [.. slots.Select(s => weight[s.token * E + s.expert])], backend.ToFloats(r.Weight).AsSpan(0, live), 1e-6f, 0);

            bool small = tokens <= Routing.SmallBatch;
            Assert.Equal(small ? null : offsets, r.HostOffsets);
            Assert.Equal(small ? tokens * config.MaxExperts(E) : live, (int)r.Token.Count);
        }
    }

    private sealed class IdentityGate : IWeightSource
    {
        public Tensor Get(string path, Shape shape, Init init)
        {
            Assert.Equal("mlp.gate.weight", path);
            Tensor y = new(shape, DType.F32, new NativeStorage(shape.Count * sizeof(float)));
            for (int i = 0; i < y.Floats.Length; i++)
                y.Floats[i] = i % (E + 1) == 0 ? 1 : 0;
            return y;
        }
    }
}
