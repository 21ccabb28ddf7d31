using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>What decoding a token costs beside its arithmetic: launches, and crossings to the host.</summary>
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
}
