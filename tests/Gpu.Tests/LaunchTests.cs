using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tracing;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>What a token or a training step costs beside its arithmetic: launches, and crossings to the host.</summary>
public sealed class LaunchTests
{
    /// <summary>Launches allowed per layer: Mixtral's and Dynamic-MoE's have one router and one bank. OpenMoE's tokens are selected on the host.</summary>
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
    [InlineData("openmoe", 18, 1)]
    [InlineData("dense-llama", 12)]
    public void ADecodedTokenTakesFewLaunches(string golden, int perLayer, int crossings = 0)
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
        double each = token.LaunchesPerLayer(model.Config.Layers.Count);
        Assert.True(each <= perLayer, $"{each:f1} launches per layer");
        Assert.Equal(crossings * model.Config.Layers.Count(static l => l is MoeConfig), token.HostCrossings);
        if (crossings == 0)
            Assert.Equal(1, token.Downloads);       // the token, and how many experts it used
    }

    /// <summary>Parameters, moments and activations stay there: the host reads how many slots each mixture has, the loss and the gradient's norm.</summary>
    [Theory]
    [InlineData("mixtral")]
    [InlineData("dynamic-moe")]
    [InlineData("moe-plus-plus")]
    [InlineData("uni-moe-2")]
    public void ATrainingStepStaysOnTheDevice(string golden)
    {
        GoldenCase trained = new(golden);
        using GpuBackend backend = Devices.Create(check: false);
        using LanguageModel model = LanguageModel.Load(trained.Folder, backend, trainable: true);
        GpuCounts before = backend.Counts;
        Tracer.TrainSteps(new Trace(), model, trained.Input, 1, trained.Training!.LearningRate, trained.Training.AdamW, trained.Training.ClipNorm);
        GpuCounts step = backend.Counts - before;
        Assert.Equal(0, step.HostCrossings);
        Assert.Equal(model.Config.Layers.Count(static l => l is MoeConfig) + 2, step.Downloads);
    }
}
