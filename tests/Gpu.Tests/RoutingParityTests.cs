using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>The device chooses the experts that the CPU chooses wherever rounding does not decide, and takes the CPU's choices over when told to.</summary>
public sealed class RoutingParityTests
{
    [Theory]
    [InlineData("mixtral")]
    [InlineData("dynamic-moe")]
    [InlineData("moe-plus-plus")]
    [InlineData("uni-moe-2-drop")]
    public void ChoosesAsTheCpu(string golden)
    {
        using IBackend cpu = CpuBackend.Create(threads: 1), device = Devices.Create(check: false);
        ChoiceBackend first = new(cpu), free = new(device), forced = new(device, first);
        Trace a = Traced(golden, first), b = Traced(golden, free), c = Traced(golden, forced);
        RoutingComparison own = RoutingComparison.Of((a, first), (b, free)), taken = RoutingComparison.Of((a, first), (c, forced));
        Assert.NotEqual(0, own.Decisions);
        Assert.Empty(own.Beyond.Concat(own.Unknown));
        Assert.Empty(taken.Beyond.Concat(taken.Unknown));
        Assert.All(TraceComparison.Of(a, c).Different.Values, static different => Assert.Equal(0, different));
    }

    /// <summary>Choices of other logits: none of them the device's own.</summary>
    [Fact]
    public void TakesChoicesOver()
    {
        using IBackend cpu = CpuBackend.Create(threads: 1), device = Devices.Create(check: false);
        float[] falling = [.. Enumerable.Range(0, 24).Select(static i => -(float)i)], rising = [.. Enumerable.Range(0, 24).Select(static i => (float)i)];
        ChoiceBackend first = new(cpu), forced = new(device, first);
        Assert.Equal([.. Enumerable.Repeat<float[]>([1, 1, 0, 0, 0, 0], 4).SelectMany(static r => r)], Select(first, falling));
        Assert.Equal([.. Enumerable.Repeat<float[]>([1, 1, 0, 0, 0, 0], 4).SelectMany(static r => r)], Select(forced, rising));
        Assert.Equal([false, false, false, false, true, true], forced.Choices[0].Chosen[..6]);

        static float[] Select(IBackend backend, float[] scores)
        {
            Tensor x = backend.From([4, 6], scores), mask = backend.New(x.Shape);
            backend.SelectTopK(x, 2, mask);
            float[] chosen = backend.ToFloats(mask);
            backend.Free(x.Storage);
            backend.Free(mask.Storage);
            return chosen;
        }
    }

    private static Trace Traced(string golden, IBackend backend)
    {
        using LanguageModel model = LanguageModel.Load(Golden.Folder(golden), backend);
        Trace trace = new();
        Tracer.Forward(trace, model, new TraceInput([.. Enumerable.Range(0, 24).Select(i => (i * 7 + 1) % model.Config.VocabSize)], 2));
        return trace;
    }
}
