using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Parity;

/// <summary>Every number of the golden models, on every backend: activations, routing, gradients, training steps, generated ids.</summary>
public sealed class GoldenParityTests
{
    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Names, Machines.All);
    public static TheoryData<string, string> TrainingRuns { get; } = Machines.Runs(GoldenCase.Trained, Machines.All);

    /// <summary>
    /// Golden case, and a second pass over its ids that it holds: with padding, or with weighted tokens. Of such a pass the
    /// balance loss is compared; the padded.logits that the cases hold are their unpadded logits, bit for bit.
    /// </summary>
    public static TheoryData<string, string> SecondPasses
    {
        get
        {
            TheoryData<string, string> runs = [];
            foreach (string golden in GoldenCase.Names)
                foreach (string pass in new[] { "padded", "weighted" })
                    if (new GoldenCase(golden).Expected.ContainsKey($"{pass}.aux_loss"))
                        runs.Add(golden, pass);
            return runs;
        }
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void ForwardMatches(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
        Dictionary<string, HostTensor> actual = Run(trace => Tracer.Forward(trace, model, expected.Input));

        foreach ((string name, HostTensor tensor) in expected.Expected)
            if (!name.StartsWith("padded.", StringComparison.Ordinal) && !name.StartsWith("weighted.", StringComparison.Ordinal))
                Close.ByName(name, tensor, actual[name]);
        Assert.Equal(expected.Expected.ContainsKey("aux_loss"), actual.ContainsKey("aux_loss"));
    }

    [Theory]
    [MemberData(nameof(SecondPasses))]
    public void SecondPassesMatch(string golden, string pass)
    {
        GoldenCase expected = new(golden);
        TraceInput input = pass == "padded"
            ? expected.Input with { Mask = [.. expected.Expected["padded.attention_mask"].Integers!.Select(static m => (int)m)] }
            : expected.Input with { TokenWeights = [.. expected.Expected["weighted.aux_balance_weight"].Integers!.Select(static w => (float)w)] };
        foreach (string machine in Machines.All)
        {
            using IBackend backend = Machines.Make(machine);
            using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
            Dictionary<string, HostTensor> actual = Run(trace => Tracer.Forward(trace, model, input));
            Close.ByName("aux_loss", expected.Expected[$"{pass}.aux_loss"], actual["aux_loss"]);
        }
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void GradientsMatch(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend, trainable: true);
        Dictionary<string, HostTensor> actual = Run(trace => Tracer.Gradients(trace, model, expected.Input));

        foreach ((string name, HostTensor tensor) in expected.Gradients)
            Close.ByName(name, tensor, Named(name));
        Assert.Equal(GradientNames(expected.Gradients.Keys), GradientNames(actual.Keys));
        if (!expected.Gradients.ContainsKey("train_logits"))
            Close.ByName("train.logits", expected.Expected["logits"], actual["train.logits"]);

        HostTensor Named(string name) => name switch
        {
            "aux_loss" => actual["train.aux_loss"],
            "train_logits" => actual["train.logits"],
            "weighted_aux_loss" => Weighted(0, "train.aux_loss"),
            "weighted_z_loss" => Weighted(1, "train.z_loss"),
            _ => actual[name],
        };

        HostTensor Weighted(int loss, string name) => actual[name] with { Floats = [model.Config.RouterLosses[loss].Coefficient * actual[name].Floats![0]] };
    }

    [Theory]
    [MemberData(nameof(TrainingRuns))]
    public void TrainingStepsMatch(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend, trainable: true);
        Dictionary<string, HostTensor> actual = Run(trace => expected.Training!.Run(trace, model, expected.Input));

        Close.Within("train.loss", expected.Training!.Losses, actual["train.loss"].Floats, 5e-5f, 0);
        Close.Within("train.grad_norm", expected.Training.GradNorms, actual["train.grad_norm"].Floats, 5e-5f, 1e-4f);
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void GreedyDecodingGivesTheSameIds(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
        using Generator generator = new(model.Transformer, backend, expected.Greedy.Prompt.Length + expected.Greedy.Generated.Length);
        Sampler sampler = new(new SamplerOptions());
        List<int> generated = [Next(expected.Greedy.Prompt)];
        while (generated.Count < expected.Greedy.Generated.Length)
            if (expected.Greedy.NoCache)
            {
                generator.Clear();
                generated.Add(Next([.. expected.Greedy.Prompt, .. generated]));
            }
            else
                generated.Add(Next([generated[^1]]));
        Assert.Equal(expected.Greedy.Generated, generated);

        int Next(int[] tokens)
        {
            generator.Feed(tokens);
            return generator.Sample(sampler)[0];
        }
    }

    private static Dictionary<string, HostTensor> Run(Action<Trace> record)
    {
        Trace trace = new();
        record(trace);
        return trace.Tensors.ToDictionary(static t => t.Name, static t => HostTensor.Of(t.Value));
    }

    private static IEnumerable<string> GradientNames(IEnumerable<string> names) =>
        names.Where(static n => n.StartsWith("grad.", StringComparison.Ordinal)).Order(StringComparer.Ordinal);
}
