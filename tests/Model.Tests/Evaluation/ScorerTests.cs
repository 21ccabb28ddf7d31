using MoeFromScratch.Contract;
using MoeFromScratch.Model.Evaluation;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Evaluation;

public sealed class ScorerTests
{
    private static readonly string Cpu = Machines.Cpu(8, 2);

    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Names, [Machines.Reference, Machines.Cpu(8, 2)]);

    /// <summary>Contexts with one continuation and with several, some of a single token, of all lengths.</summary>
    private static ScoredContext[] Requests(ModelConfig config)
    {
        int[] ids = Tiny.Input(config, 1, 60, seed: 3).Ids;
        return
        [
            new(ids[..9], [ids[9..12], ids[20..21], ids[30..36]]),
            new(ids[..1], [ids[1..2]]),
            new(ids[5..8], [ids[40..44]]),
            new(ids[10..30], [ids[30..31], ids[31..32], ids[30..40], ids[33..34]]),
            new(ids[3..6], [ids[8..9], ids[9..10]]),
        ];
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void LikelihoodsAreThoseOfAPlainSoftmax(string golden, string machine)
    {
        using IBackend backend = Machines.Make(machine), exact = new ReferenceBackend();
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend), oracle = LanguageModel.Load(Golden.Folder(golden), exact);
        ScoredContext[] requests = Requests(model.Config);
        foreach (int room in new[] { 0, 1, 30 })
        {
            using Scorer scorer = new(model, room);
            foreach ((ScoredContext request, double[]? sums) in requests.Zip(scorer.Score(requests)))
                foreach ((int[] continuation, double sum) in request.Continuations.Zip(sums!))
                    Assert.Equal(Oracle.LogLikelihood(oracle, request.Tokens, continuation), sum, 1e-4 * continuation.Length);
        }
    }

    /// <summary>One at a time without a shared context, one context at a time, and all of them together.</summary>
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("mixtral")]
    [InlineData("moe-plus-plus")]
    [InlineData("deepseek-v3")]
    [InlineData("gpt-oss")]
    [InlineData("phimoe")]
    public void TogetherIsAloneToTheLastBit(string golden)
    {
        using IBackend backend = Machines.Make(Machines.Reference);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend);
        ScoredContext[] requests = Requests(model.Config);
        double[] alone = Flat(model, 1, [.. requests.SelectMany(static r => r.Continuations, static (r, c) => new ScoredContext(r.Tokens, [c]))]);
        Assert.Equal(alone, Flat(model, 1, requests));
        Assert.Equal(alone, Flat(model, 40, requests));
        Assert.Equal(alone, Flat(model, 0, requests));
    }

    /// <summary>Where tokens compete for experts, nothing is shared, and every backend gives what it gives for a sequence alone.</summary>
    [Theory]
    [InlineData("uni-moe-2-drop")]
    [InlineData("openmoe")]
    public void CompetingTokensAreComputedAlone(string golden)
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend);
        ScoredContext[] requests = Requests(model.Config);
        double[] alone = [.. requests.SelectMany(static r => r.Continuations, (r, c) => Flat(model, 0, [new ScoredContext(r.Tokens, [c])])[0])];
        Assert.Equal(alone, Flat(model, 0, requests));
    }

    [Fact]
    public void ThreadsDoNotMatter()
    {
        double[][] sums = [.. new[] { 1, 2 }.Select(static threads =>
        {
            using IBackend backend = Machines.Make(Machines.Cpu(8, threads));
            using LanguageModel model = LanguageModel.Load(Golden.Folder("dynamic-moe"), backend);
            return Flat(model, 0, Requests(model.Config));
        })];
        Assert.Equal(sums[0], sums[1]);
    }

    /// <summary>LongRoPE turns short sequences otherwise than long ones: those never share a pass, nor such continuations a context.</summary>
    [Fact]
    public void EachSequenceHasItsOwnRotaryForm()
    {
        PairwiseRopeScaling near = new([1, 1, 1, 1, 1], 1), far = new([1, 2, 3, 4, 5], 1.5f);
        ModelConfig config = Tiny.Config("dynamic-moe");
        config = config with { Attention = config.Attention with { RopeScaling = new LongRopeScaling(near, far, 20) } };
        using IBackend backend = Machines.Make(Machines.Reference);
        using LanguageModel model = LanguageModel.Create(backend, new FromScratch(), config, seed: 5);
        ScoredContext[] requests = Requests(config);
        using Scorer scorer = new(model);
        foreach ((ScoredContext request, double[]? sums) in requests.Zip(scorer.Score(requests)))
            foreach ((int[] continuation, double sum) in request.Continuations.Zip(sums!))
                Assert.Equal(Oracle.LogLikelihood(model, request.Tokens, continuation), sum, 1e-5 * continuation.Length);
    }

    /// <summary>Counted by the tracer in whole sequences, whose contexts stand there once for each continuation.</summary>
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("moe-plus-plus")]
    [InlineData("uni-moe-2-drop")]
    public void CostCountsTheExpertsThatRan(string golden)
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend);
        ScoredContext[] requests = [.. Requests(model.Config).SelectMany(static r => r.Continuations, static (r, c) => new ScoredContext(r.Tokens, [c]))];
        CostMeter meter = new(model);
        using (Scorer scorer = new(model))
            scorer.Score(requests, meter);
        EvaluationCost cost = meter.Sum();

        int[] moe = [.. model.Config.Layers.Index().Where(static l => l.Item is MoeConfig).Select(static l => l.Index)];
        long[] experts = new long[moe.Length];
        double active = 0;
        foreach (ScoredContext request in requests)
        {
            int[] tokens = [.. request.Tokens, .. request.Continuations[0][..^1]];
            Trace trace = new();
            Tracer.Forward(trace, model, new TraceInput(tokens, 1));
            foreach ((int i, int layer) in moe.Index())
            {
                experts[i] += trace.Find($"router.{layer}.selected_count")!.Host<long>().ToArray().Sum();
                long[] mask = trace.Find($"router.{layer}.expert_mask")!.Host<long>().ToArray(), each = ExpertParameters.Of(model, layer);
                active += mask.Select((m, e) => (double)m * each[e % each.Length]).Sum();
            }
            active += tokens.Length * (double)(model.Weights.Count - moe.Sum(layer => ExpertParameters.Of(model, layer).Sum()));
        }
        Assert.Equal(requests.Sum(static r => r.Tokens.Length + r.Continuations[0].Length - 1), cost.Tokens);
        Assert.Equal(experts.Select(e => (double)e / cost.Tokens), cost.ExpertsByLayer, static (a, b) => Math.Abs(a - b) < 1e-9);
        Assert.Equal(active / cost.Tokens, cost.ActiveParameters, 1e-3);
    }

    [Fact]
    public void SharedContextsAreComputedOnce()
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Load(Golden.Folder("mixtral"), backend);
        CostMeter meter = new(model);
        using Scorer scorer = new(model);
        scorer.Score([new([1, 2, 3, 4], [[5, 6], [7], [8, 9, 10]])], meter);
        Assert.Equal(4 + 1 + 0 + 2, meter.Sum().Tokens);
        Assert.All(meter.Sum().ExpertsByLayer, static e => Assert.Equal(2, e));
        Assert.Equal(2, meter.Sum().ExpertsPerToken);
    }

    [Fact]
    public void ADenseModelHasNoExperts()
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Load(Golden.Folder("dense-llama"), backend);
        CostMeter meter = new(model);
        using Scorer scorer = new(model);
        scorer.Score([new([1, 2], [[5]])], meter);
        Assert.Null(meter.Sum().ExpertsPerToken);
        Assert.Equal(model.Weights.Count, meter.Sum().ActiveParameters);
    }

    /// <summary>The longest come first; what was not reached is null, and what was is whole.</summary>
    [Fact]
    public void AStopLeavesTheRestOut()
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Load(Golden.Folder("mixtral"), backend);
        ScoredContext[] requests = Requests(model.Config);
        using Scorer scorer = new(model, batchTokens: 1);
        using CancellationTokenSource stop = new();
        List<double> shares = [];
        double[]?[] sums = scorer.Score(requests, progress: share =>
        {
            shares.Add(share);
            if (shares.Count == 2)
                stop.Cancel();
        }, stop: stop.Token);
        Assert.Equal([true, false, false, true, false], sums.Select(static s => s is not null));
        Assert.Equal(2, shares.Count);
        Assert.True(shares[0] < shares[1] && shares[1] < 1);
        Assert.Equal(scorer.Score(requests)[3], sums[3]);
    }

    /// <summary>Neither the cache, which has the longest sequence's room for each, nor the logits, one for each continuation, outgrow a pass.</summary>
    [Fact]
    public void PassesKeepToTheirRoom()
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Load(Golden.Folder("mixtral"), backend);
        ScoredContext pair = new([1], [[2], [3]]), four = new([1], [[2], [3], [4], [5]]);
        Assert.Equal(1, Passes(12, new([1, 2, 3, 4, 5, 6], [[7]]), new([1, 2, 3, 4, 5, 6], [[8]])));
        Assert.Equal(2, Passes(12, new([1, 2, 3, 4, 5, 6, 7], [[8]]), pair, pair));
        Assert.Equal(1, Passes(8, four, four));
        Assert.Equal(2, Passes(8, four, four, four));

        int Passes(int room, params ScoredContext[] contexts)
        {
            int passes = 0;
            using Scorer scorer = new(model, room);
            Assert.DoesNotContain(null, scorer.Score(contexts, progress: _ => passes++));
            return passes;
        }
    }

    [Fact]
    public void RefusesWhatCannotBeScored()
    {
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("mixtral"), Tiny.Config("mixtral"), seed: 5);
        using Scorer scorer = new(model);
        Refused("at least one token", [], [1]);
        Refused("at least one token", [1], []);
        Refused("model's context of 64", [.. new int[60]], [.. new int[6]]);
        Refused("token 31 is not in the vocabulary of 31", [1], [31]);
        Refused("token -1 is not in the vocabulary", [-1], [1]);
        Assert.Single(scorer.Score([new ScoredContext(new int[60], [new int[5]])]));
        Assert.Contains("does not route by task", Assert.Throws<ArgumentException>(() => new Scorer(model, task: 0)).Message, StringComparison.Ordinal);

        void Refused(string part, int[] context, int[] continuation) =>
            Assert.Contains(part, Assert.Throws<ArgumentException>(() => scorer.Score([new ScoredContext(context, [continuation])])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ATaskRoutersTaskMustBeNamed()
    {
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [new MoeConfig(new TaskRouterConfig(Tasks: 3), [new FfnExpertsConfig(4, 13)])], RouterLosses = [] };
        using IBackend backend = Machines.Make(Cpu);
        using LanguageModel model = LanguageModel.Create(backend, new FromScratch(), config, seed: 5);
        Assert.Contains("name one of 0 to 2", Assert.Throws<ArgumentException>(() => new Scorer(model)).Message, StringComparison.Ordinal);
        Assert.Contains("0 to 2, not 3", Assert.Throws<ArgumentException>(() => new Scorer(model, task: 3)).Message, StringComparison.Ordinal);
        double[][] sums = [.. Enumerable.Range(0, 3).Select(task =>
        {
            using Scorer scorer = new(model, task: task);
            return scorer.Score([new([1, 2, 3], [[4, 5], [6]])])[0]!;
        })];
        Assert.Equal(3, sums.Select(static s => s[0]).Distinct().Count());
    }

    private static double[] Flat(LanguageModel model, int room, IReadOnlyList<ScoredContext> requests)
    {
        using Scorer scorer = new(model, room);
        return [.. scorer.Score(requests).SelectMany(static s => s!)];
    }
}
