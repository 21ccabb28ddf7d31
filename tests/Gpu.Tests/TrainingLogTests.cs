using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>A run on the device logs what one on the CPU does, and what it logs comes to the host in one piece.</summary>
public sealed class TrainingLogTests
{
    private const int Steps = 2, Context = 12;

    /// <summary>Mixtral with the router of Switch, whose experts have room for 0.7 of an even share.</summary>
    private const string Crowded = "crowded";

    private static readonly RouterLoss[] s_losses = [new LoadBalanceLoss(1e-2f), new RouterEntropyLoss(1e-3f), new RouterZLoss(1e-3f)];

    /// <summary>Mixtral's router has so many experts for each token; Dynamic-MoE's takes what it needs, and the device asks how many those are. Experts that have
    /// too little room are one field more.</summary>
    [Theory]
    [InlineData("mixtral", 0)]
    [InlineData("dynamic-moe", 1)]
    [InlineData(Crowded, 0)]
    public void TheDeviceLogsWhatTheCpuDoes(string family, int downloads)
    {
        using IBackend cpu = CpuBackend.Create(threads: 1);
        using GpuBackend device = Devices.Create(check: false);
        (JsonObject[] expected, _) = Log(cpu, family);
        (JsonObject[] actual, GpuCounts done) = Log(device, family);
        Assert.Equal(Steps, expected.Length);
        Assert.Equal(family == Crowded, expected[0].ContainsKey("dropped_per_token"));
        foreach ((JsonObject e, JsonObject a) in expected.Zip(actual))
        {
            Assert.Equal(Fields(e), Fields(a));
            foreach (string field in new[] { "step", "learning_rate", "experts_per_token", "dropped_per_token" })
                Assert.Equal(e[field]?.ToJsonString(), a[field]?.ToJsonString());
            foreach (string field in new[] { "loss", "grad_norm", "validation_loss" })
                Near(e[field], a[field]);
            foreach (RouterLoss loss in s_losses)
                Near(e["router_losses"]![loss.Name], a["router_losses"]![loss.Name]);
            Assert.True((double)a["tokens_per_second"]! > 0);
        }
        Assert.Equal((2 + downloads * 2) * Steps, done.Downloads);      // the figures and the gradient's norm; two layers
    }

    private static (JsonObject[] Lines, GpuCounts Done) Log(IBackend backend, string family)
    {
        using TemporaryFolder folder = new();
        string path = Path.Combine(folder.Path, "train.jsonl");
        using LanguageModel model = Model(backend, family);
        using Trainer trainer = new(model, Texts.Data(model, Context), Texts.Options(Context) with { Steps = Steps, RouterLosses = s_losses });
        GpuCounts before = Counts();
        List<TrainStep> steps = [];
        trainer.Run(steps.Add);
        GpuCounts done = Counts() - before;
        using (TrainingLog log = new(path, afterStep: 0, s_losses.Select(static l => l.Name)))
            foreach (TrainStep step in steps)
                log.Write(step, trainer.Validate(windows: 1));
        return ([.. File.ReadLines(path).Select(static line => JsonNode.Parse(line)!.AsObject())], done);

        GpuCounts Counts() => (backend as GpuBackend)?.Counts ?? default;
    }

    private static LanguageModel Model(IBackend backend, string family)
    {
        if (family != Crowded)
            return Texts.Model(backend, family);
        MoeConfig moe = new(new SwitchRouterConfig(2) { Capacity = new CapacityConfig(0.7f) }, [new FfnExpertsConfig(3, 9)]);
        Tokenizer tokenizer = Tokenizer.TrainCharacters(Texts.Repetitive);
        ModelConfig config = Tiny.Config("mixtral") with { Layers = [moe, moe], RouterLosses = [], VocabSize = tokenizer.VocabSize, InitStd = 0.1f };
        return LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 2, tokenizer);
    }

    private static string[] Fields(JsonObject line) => [.. line.SelectMany(static f => f.Value is JsonObject inner ? inner.Select(i => $"{f.Key}.{i.Key}") : [f.Key])];

    private static void Near(JsonNode? expected, JsonNode? actual) => Assert.Equal((double)expected!, (double)actual!, 1e-4 * Math.Abs((double)expected!));
}
