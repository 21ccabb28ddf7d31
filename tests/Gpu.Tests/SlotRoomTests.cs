using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>With slot lists that have room for the most slots there can be, kernels give what they give with lists as long as needed, and read nothing behind the last slot.</summary>
public sealed class SlotRoomTests
{
    [Theory]
    [InlineData("dynamic-moe", 3)]
    [InlineData("openmoe", 0)]
    [InlineData("uni-moe-2-drop", 0)]
    public void KernelsGiveTheSame(string golden, int maxExperts)
    {
        GoldenCase it = new(golden);
        using GpuBackend device = Devices.Create();
        Bits.Equal(Traced(new Exact(device)), Traced(device));

        Trace Traced(IBackend backend)
        {
            RoutingOptions? routing = maxExperts == 0 ? null : new([], [], [maxExperts]);
            using LanguageModel model = LanguageModel.Load(it.Folder, backend, trainable: true, routing);
            Trace trace = new();
            Tracer.Gradients(trace, model, it.Input);
            return trace;
        }
    }

    /// <summary>Networks without a fused kernel: what lies between their products goes over all rows, and those behind the last slot are zeros.</summary>
    [Fact]
    public void NetworksInPartsGiveTheSame()
    {
        MoeConfig moe = new(new SwitchRouterConfig(2) { Capacity = new CapacityConfig(0.7f) }, [new MlpExpertsConfig(3, 9), new CopyExpertsConfig(1)]);
        using GpuBackend device = Devices.Create();
        Bits.Equal("parameters", Learned(new Exact(device)), Learned(device));

        float[] Learned(IBackend backend)
        {
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), Tiny.Config("mixtral") with { Layers = [moe], RouterLosses = [] }, seed: 1);
            using Trainer trainer = new(model, new TokenData([.. Enumerable.Range(0, 200).Select(static i => i % 5)], context: 12), Texts.Options(context: 12));
            Assert.True(trainer.Step().DroppedPerToken[0] > 0);
            return [.. model.Weights.All.SelectMany(backend.ToFloats)];
        }
    }

    /// <summary>Asks how many slots there are.</summary>
    private sealed class Exact(IBackend device) : PassingBackend(device)
    {
        public override bool IsDevice => false;
    }
}
