using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>An upcycled model is one to train: its loss falls, and that of plain copies from where the dense one's was.</summary>
public sealed class TrainsOnTests : IDisposable
{
    private const int Context = 16;
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    public static TheoryData<string> Ways => Workshop.Ways;

    [Theory]
    [MemberData(nameof(Ways))]
    public void LearnsOn(string way)
    {
        string dense = _shop.Golden("dense-llama", weights: "model.safetensors");
        (string folder, _) = _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way(way)));
        float before = Losses(dense, steps: 0)[0];
        float[] after = Losses(folder, steps: 25);
        if (way.StartsWith("copy", StringComparison.Ordinal))
        {
            Assert.True(after[0] <= 1.01f * before, $"{after[0]} after upcycling, {before} before");
            Assert.Equal(before, after[0], 1e-5f);
        }
        Assert.True(after[1] < 0.9f * after[0], $"{after[1]} after 25 steps from {after[0]}");
    }

    /// <summary>A router that starts without opinions gets some: of two matrices of zeros, neither would ever hear of the loss.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ARouterOfZerosLearns(bool twoMatrices)
    {
        (string folder, _) = _shop.Upcycle(_shop.Tiny(), new UpcycleOptions(new RandomSplit(4, 3, new SplitRouter(2, null, twoMatrices))) { Router = new RouterInit(Std: 0) });
        using LanguageModel model = LanguageModel.Load(folder, _shop.Backend, trainable: true);
        Trace trace = new();
        TraceInput input = Tiny.Input(model.Config, 1, 16);
        Tracer.Forward(trace, model, input);
        Tracer.Gradients(trace, model, input);
        string gate = model.Family.NameInFile($"model.layers.1.mlp.gate.{(twoMatrices ? "2." : "")}weight");
        Assert.All(trace.Find("router.1.logits")!.Floats.ToArray(), static x => Assert.Equal(0, x));
        Assert.Contains(trace.Find($"grad.{gate}")!.Floats.ToArray(), static x => x != 0);
    }

    /// <summary>Validation losses before and after some steps on ids that repeat.</summary>
    private float[] Losses(string folder, int steps)
    {
        using LanguageModel model = LanguageModel.Load(folder, _shop.Backend, trainable: true);
        int[] ids = [.. Enumerable.Range(0, 600).Select(static i => 3 + i * i % 23)];
        TrainOptions options = new()
        {
            Steps = Math.Max(1, steps),
            BatchSize = 2,
            Context = Context,
            LearningRate = new LrSchedule(LrDecay.Constant, Peak: 3e-3f, WarmupSteps: 2, TotalSteps: Math.Max(1, steps)),
            RouterLosses = model.Config.RouterLosses,
            Seed = 4,
        };
        using Trainer trainer = new(model, new TokenData(ids, Context), options);
        float before = trainer.Validate();
        for (int i = 0; i < steps; i++)
            trainer.Step();
        if (steps > 0 && model.Config.Layers.OfType<MoeConfig>().Any())
            Assert.All(model.Weights.All, static p => Assert.False(float.IsNaN(p.Floats[0])));
        return [before, trainer.Validate()];
    }
}
