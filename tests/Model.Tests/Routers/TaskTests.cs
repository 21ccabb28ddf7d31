using MoeFromScratch.Autograd;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Experts chosen by a sequence's task: the rule, learning by it, and what is left for one task.</summary>
public sealed class TaskTests : IDisposable
{
    private const int Tasks = 3, Context = 12;

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> SomeMachines { get; } = [Machines.Reference, .. Machines.Cpus.Where(static m => m.EndsWith("2 threads", StringComparison.Ordinal))];

    /// <summary>A layer by task, a dense one, a layer by token with a selection bias and a shared expert, and another by task; zero and constant experts among them.</summary>
    private static ModelConfig Config { get; } = Tiny.Config("mixtral") with
    {
        InitStd = 0.25f,
        RouterLosses = [],
        Layers =
        [
            new MoeConfig(new TaskRouterConfig(Tasks), [new FfnExpertsConfig(3, 7), new ZeroExpertsConfig(1), new FfnExpertsConfig(3, 5) { Fused = true }]),
            new DenseConfig(6),
            new MoeConfig(new GroupedTopKRouterConfig(2) { SelectionBias = true, Renormalize = true }, [new FfnExpertsConfig(3, 7), new SharedExpertConfig(4, Gated: true)]),
            new MoeConfig(new TaskRouterConfig(Tasks, TopK: 3, Renormalize: false), [new MlpExpertsConfig(4, 6), new ConstantExpertsConfig(2), new SharedExpertConfig(4, Gated: false)]),
        ],
    };

    public void Dispose() => _folder.Dispose();

    /// <summary>All tokens of a sequence have the experts of its task, k of them, by the softmax of its embedding's logits.</summary>
    [Theory]
    [MemberData(nameof(SomeMachines))]
    public void ATaskHasItsExperts(string machine)
    {
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = Draw(backend);
        float[] gate = backend.ToFloats(Parameter(model, "model.layers.0.mlp.gate.weight")), embedding = backend.ToFloats(Parameter(model, "model.layers.0.mlp.task_embedding.weight"));
        int d = model.Config.HiddenSize, experts = gate.Length / d;
        int[] lengths = [4, 7, 3, 2], tasks = [2, 0, 2, 1];
        using Tape g = Tape.Inference(backend, keepAll: true);
        List<LayerOutput> layers = [];
        model.Transformer.Forward(g, Batch.Packed(g, [.. Enumerable.Range(0, lengths.Sum()).Select(static i => i * 5 % 31)], lengths, tasks), layers);
        float[] weights = backend.ToFloats(layers[0].Routing!.Value.Weights);
        int row = 0;
        for (int b = 0; b < lengths.Length; b++)
        {
            double[] exp = [.. Enumerable.Range(0, experts).Select(e => Math.Exp(Enumerable.Range(0, d).Sum(i => (double)gate[e * d + i] * embedding[tasks[b] * d + i])))];
            double[] chosen = [.. exp.Select(e => exp.Count(other => other > e) < 2 ? e : 0)];
            for (int t = 0; t < lengths[b]; t++, row++)
                Close.Within("weights", [.. chosen.Select(c => (float)(c / chosen.Sum()))], weights.AsSpan(row * experts, experts), 1e-5f, 0);
        }
    }

    [Fact]
    public void ATaskMustBeNamed()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = Draw(backend);
        Assert.Contains("routes by task", Assert.Throws<ArgumentException>(() => TextGeneration.Generate(model, [1, 2], new GenerateOptions()).First()).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => TextGeneration.Generate(model, [1, 2], new GenerateOptions { Task = Tasks }).First());
        Assert.Throws<ArgumentException>(() => TextGeneration.Generate(model, [1, 2], new GenerateOptions { Task = -1 }).First());
        using Tape g = Tape.Inference(backend);
        Assert.Throws<ArgumentException>(() => Batch.Packed(g, [1, 2, 3], [1, 2], [0]));
        foreach (TaskRouterConfig router in new TaskRouterConfig[] { new(0), new(2, 5), new(2, 0), new(2) { Gate = new GateConfig { Residual = true } } })
        {
            ModelConfig config = Config with { Layers = [new MoeConfig(router, [new FfnExpertsConfig(4, 3)])] };
            Assert.Throws<ArgumentException>(() => LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1));
        }
    }

    /// <summary>One task's part computes what the whole computes for it, to the last bit, at once and token by token, and after a way over the disk.</summary>
    [Theory]
    [MemberData(nameof(SomeMachines))]
    public void ATasksPartIsTheWholeForIt(string machine)
    {
        using IBackend backend = Machines.Make(machine);
        using LanguageModel whole = Draw(backend);
        int[] ids = [.. Enumerable.Range(0, 30).Select(static i => i * 7 % 31)];
        for (int task = 0; task < Tasks; task++)
        {
            float[] expected = Logits(whole, [task, task]);
            int[] text = [.. TextGeneration.Generate(whole, ids[..5], new GenerateOptions { Task = task, MaxNewTokens = 12 }).Select(static t => t.Id)];
            using LanguageModel part = Subnetwork.OfTask(whole, task);
            Bits.Equal("logits", expected, Logits(part, []));
            Assert.Equal(text, TextGeneration.Generate(part, ids[..5], new GenerateOptions { MaxNewTokens = 12 }).Select(static t => t.Id));
            Assert.True(part.Weights.Count < whole.Weights.Count);
            Assert.All(part.Config.Layers.OfType<MoeConfig>(), static m => Assert.IsNotType<TaskRouterConfig>(m.Router));
            Assert.Equal([2, 3], part.Config.Layers.OfType<MoeConfig>().Where(static m => m.Router is FixedRouterConfig).Select(static m => m.NumExperts));

            part.Save(_folder.Path);
            using LanguageModel again = LanguageModel.Load(_folder.Path, backend);
            Bits.Equal("logits", expected, Logits(again, []));
            Assert.True(part.Config.Describes(again.Config));
        }
        Assert.NotEqual(Logits(whole, [0, 0]), Logits(whole, [1, 1]));

        float[] Logits(LanguageModel model, int[] tasks)
        {
            using Tape g = Tape.Inference(backend);
            return backend.ToFloats(model.Transformer.Forward(g, Batch.Packed(g, ids, [11, 19], tasks), []).Logits);
        }
    }

    [Fact]
    public void WhatHasNoPartIsRefused()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = Draw(backend), other = LanguageModel.Create(backend, Tiny.Family("mixtral"), Tiny.Config("mixtral"), seed: 1),
            stacked = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"),
                Config with { Layers = [new MoeConfig(new TaskRouterConfig(1), [new FfnExpertsConfig(4, 3) { Stacked = true }])] }, seed: 1);
        int live = backend.LiveBuffers;
        Assert.Contains("knows the tasks 0 to 2", Assert.Throws<ArgumentException>(() => Subnetwork.OfTask(model, 3)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Subnetwork.OfTask(model, -1));
        Assert.Contains("no layer", Assert.Throws<ArgumentException>(() => Subnetwork.OfTask(other, 0)).Message, StringComparison.Ordinal);
        Assert.Contains("in one tensor", Assert.Throws<ArgumentException>(() => Subnetwork.OfTask(stacked, 0)).Message, StringComparison.Ordinal);
        Assert.Equal(live, backend.LiveBuffers);
    }

    /// <summary>Up for one task, down for the other: without knowing which, every next token but the first is a guess between two.</summary>
    [Fact]
    public void TrainsBothTasksAndKeepsThemApart()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        MoeConfig moe = new(new TaskRouterConfig(2, TopK: 2, Renormalize: false), [new FfnExpertsConfig(6, 9)]);
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [moe, moe], InitStd = 0.1f, RouterLosses = [] };
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
        int[] up = [.. Enumerable.Range(0, 400).Select(static i => i % 5)], down = [.. Enumerable.Range(0, 500).Select(static i => (5000 - i) % 5)];
        using Trainer trainer = new(model, new TokenData([up, down], Context), Texts.Options(Context) with { Steps = 60, BatchSize = 4 });
        List<TrainStep> steps = [];
        trainer.Run(steps.Add);
        Assert.True(trainer.Validate() < 0.1f, $"{steps[0].Loss} to {steps[^1].Loss}, {trainer.Validate()} in validation");
        Assert.Equal([3, 4, 0, 1], Next(model, 0));
        Assert.Equal([1, 0, 4, 3], Next(model, 1));
        using LanguageModel part = Subnetwork.OfTask(model, 1);
        Assert.Equal([1, 0, 4, 3], Next(part, null));

        static IEnumerable<int> Next(LanguageModel model, int? task) =>
            TextGeneration.Generate(model, [2], new GenerateOptions { Task = task, MaxNewTokens = 4, Sampler = new SamplerOptions() }).Select(static t => t.Id);
    }

    private static LanguageModel Draw(IBackend backend) => LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), Config, seed: 4);

    private static Tensor Parameter(LanguageModel model, string name) => model.Weights.All.Single(p => p.Name == name);
}
