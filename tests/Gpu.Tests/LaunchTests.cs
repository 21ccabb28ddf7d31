using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Training;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>What a token or a training step costs beside its arithmetic: launches, and crossings to the host.</summary>
public sealed class LaunchTests
{
    private const int Context = 12;

    /// <summary>Launches allowed per layer: Mixtral's and Dynamic-MoE's have one router and one bank.</summary>
    [Theory]
    [InlineData("mixtral", 12)]
    [InlineData("dynamic-moe", 12)]
    [InlineData("moe-plus-plus", 18)]
    [InlineData("uni-moe-2", 18)]
    [InlineData("olmoe", 18)]
    [InlineData("qwen2-moe", 18)]
    [InlineData("qwen3-moe", 18)]
    [InlineData("deepseek-v3", 18)]
    [InlineData("phimoe", 18)]
    [InlineData("gpt-oss", 18)]
    [InlineData("granitemoe", 18)]
    [InlineData("llama-moe", 18)]
    [InlineData("openmoe", 18)]
    [InlineData("dense-llama", 12)]
    public void ADecodedTokenTakesFewLaunches(string golden, int perLayer)
    {
        using GpuBackend backend = Devices.Create(check: false);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend);
        using Generator generator = new(model.Transformer, backend, 16);
        Sampler sampler = new(new SamplerOptions(Temperature: 1, TopP: 0.9f));
        generator.Feed([1, 2, 3]);
        generator.Feed([4]);
        GpuCounts before = backend.Counts;
        generator.Feed([5]);
        generator.Sample(sampler);
        generator.CountExperts(new int[generator.MoeLayers]);
        GpuCounts token = backend.Counts - before;
        double each = token.LaunchesPerLayer(model.Config.Layers.Count, generator.MoeLayers > 0);
        Assert.True(each <= perLayer, $"{each:f1} launches per layer");
        Assert.Equal(1, token.Downloads);       // the token, and how many experts it used
    }

    /// <summary>What a layer more adds is a layer's; the rest comes after the last.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void LaunchesOutsideOfLayersAreKnown(bool hasExperts)
    {
        long[] launches = [.. new[] { 2, 3, 4 }.Select(Launches)];
        Assert.Equal(launches[1] - launches[0], launches[2] - launches[1]);
        Assert.Equal(GpuCounts.OutsideOfLayers(hasExperts), launches[0] - 2 * (launches[1] - launches[0]));

        long Launches(int layers)
        {
            FeedForwardConfig one = hasExperts ? new MoeConfig(new TopKRouterConfig(2), [new FfnExpertsConfig(6, 16)]) : new DenseConfig(16);
            using GpuBackend backend = Devices.Create(check: false);
            using LanguageModel model = LanguageModel.Create(
                backend, Tiny.Family("moe_from_scratch"), Tiny.Config("mixtral") with { Layers = [.. Enumerable.Repeat(one, layers)], RouterLosses = [] }, seed: 1);
            using Generator generator = new(model.Transformer, backend, 16);
            Sampler greedy = new(new SamplerOptions());
            generator.Feed([1, 2, 3]);
            generator.Feed([4]);
            generator.Sample(greedy);
            GpuCounts before = backend.Counts;
            generator.Feed([5]);
            generator.Sample(greedy);
            return (backend.Counts - before).Launches;
        }
    }

    /// <summary>
    /// Parameters, moments and activations stay there: the host reads the loss and the gradient's norm, and where a token may have any number
    /// of experts, how many slots each mixture has.
    /// </summary>
    [Theory]
    [InlineData("mixtral", 0, 0)]
    [InlineData("dynamic-moe", 1, 0)]
    [InlineData("dynamic-moe", 0, 3)]
    [InlineData("moe-plus-plus", 0, 0)]
    [InlineData("uni-moe-2", 1, 0)]
    public void ATrainingStepStaysOnTheDevice(string golden, int perLayer, int maxExperts)
    {
        GoldenCase trained = new(golden);
        using GpuBackend backend = Devices.Create(check: false);
        RoutingOptions routing = new([], [], maxExperts == 0 ? [] : [maxExperts]);
        using LanguageModel model = LanguageModel.Load(trained.Folder, backend, trainable: true, routing);
        GpuCounts before = backend.Counts;
        Tracer.TrainSteps(new Trace(), model, trained.Input, 1, trained.Training!.LearningRate, trained.Training.AdamW, trained.Training.ClipNorm);
        GpuCounts step = backend.Counts - before;
        Assert.Equal(perLayer * model.Config.Layers.Count(static l => l is MoeConfig) + 2, step.Downloads);
    }

    public static TheoryData<string> Families => [.. GoldenCase.Trained];

    /// <summary>
    /// With noise and all that a step of training does: a mixture layer crosses once where a token may have any number of experts (how many slots are there), where experts
    /// are drawn (PhiMoE), and else never: experts with little room have places for so many, which the device gives out.
    /// </summary>
    [Theory, MemberData(nameof(Families))]
    public void AFamilysTrainingStepCrossesOnceALayerAtMost(string family)
    {
        using GpuBackend backend = Devices.Create(check: false);
        using LanguageModel model = LanguageModel.Load(Golden.Folder(family), backend, trainable: true);
        bool hasBias = family.StartsWith("deepseek", StringComparison.Ordinal);
        Assert.Equal(family is "dynamic-moe" or "uni-moe-2" or "phimoe" ? 1 : 0,
            CrossingsPerLayer(backend, model, Texts.Options(Context) with { EstimateChoice = true, BiasUpdateRate = hasBias ? 0.01f : 0 }, more: hasBias ? 1 : 0));
    }

    private static readonly Dictionary<string, (RouterConfig Router, int PerLayer)> s_routers = new()
    {
        ["base"] = (new BaseRouterConfig(), 1),             // the assignment is the host's
        ["expert choice"] = (new ExpertChoiceRouterConfig(1.5f), 0),
        ["noisy top-k"] = (new NoisyTopKRouterConfig(2), 0),
        ["switch, room by sequence"] = (new SwitchRouterConfig { Capacity = new CapacityConfig(0.7f) { PerSequence = true }, InputJitter = 0.01f, PassDropped = true }, 0),
        ["gshard"] = (new SwitchRouterConfig(2) { Capacity = new CapacityConfig(0.7f, Policy: DropPolicy.Choice) }, 0),
        ["moe++ with room"] = (new MoePlusPlusRouterConfig { Capacity = new CapacityConfig(0.7f, Tau: 0.75f) }, 0),
        ["dc-moe, room by sequence"] = (new DcMoeRouterConfig(0.6f) { Capacity = new CapacityConfig(0.7f) { PerSequence = true } }, 0),
        ["dc-moe"] = (new DcMoeRouterConfig(0.6f), 1),
        ["dc-moe with room, top-k"] = (new DcMoeRouterConfig(0, 2) { Capacity = new CapacityConfig(0.7f, Policy: DropPolicy.Position) }, 0),
        ["top-p of at most 3"] = (new TopPRouterConfig(0.6f, 3), 0),
    };

    public static TheoryData<string> Routers => [.. s_routers.Keys];

    /// <summary>And routers that no family here is trained with; a balance by sequence reads the tokens' weights once for all layers.</summary>
    [Theory, MemberData(nameof(Routers))]
    public void ARoutersTrainingStepCrossesOnceALayerAtMost(string router)
    {
        (RouterConfig config, int perLayer) = s_routers[router];
        MoeConfig moe = new(config, [new FfnExpertsConfig(3, 9), new CopyExpertsConfig(1)]);
        using GpuBackend backend = Devices.Create(check: false);
        using LanguageModel model = LanguageModel.Create(
            backend, Tiny.Family("moe_from_scratch"), Tiny.Config("mixtral") with { Layers = [moe, moe], RouterLosses = [] }, seed: 1);
        RouterLoss[] losses = [new LoadBalanceLoss(0.01f, BalanceScope.Sequence)];
        Assert.Equal(perLayer, CrossingsPerLayer(backend, model, Texts.Options(Context) with { RouterLosses = losses }, more: 1));
    }

    /// <summary>Beside what the host learns of any step, the figures and the gradient's norm, and <paramref name="more"/>.</summary>
    private static double CrossingsPerLayer(GpuBackend backend, LanguageModel model, TrainOptions options, int more)
    {
        using Trainer trainer = new(model, new TokenData([.. Enumerable.Range(0, 200).Select(static i => i % 7)], Context), options);
        GpuCounts before = backend.Counts;
        trainer.Step();
        return (double)((backend.Counts - before).Downloads - 2 - more) / Math.Max(1, model.Config.Layers.Count(static l => l is MoeConfig));
    }
}
