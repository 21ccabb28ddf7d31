using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tests.Checkpoints;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>Top-P, shared, zero, copy and constant experts, gating residuals and MoE++'s balance in one model: it trains, and comes back from disk as it was.</summary>
public sealed class EverythingTests
{
    [Fact]
    public void TrainsAndComesBack()
    {
        using TemporaryFolder folder = new();
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        ModelConfig config = Variants.Everything() with { InitStd = 0.1f };
        TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
        float[] logits;
        using (LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1))
        {
            using Trainer trainer = new(model, data, Texts.Options(context: 12) with { Steps = 25, RouterLosses = config.RouterLosses, CheckpointBlocks = true });
            List<TrainStep> steps = [];
            trainer.Run(steps.Add);
            Assert.True(steps[^1].Loss < 0.3f * steps[0].Loss, $"{steps[0].Loss} to {steps[^1].Loss}");
            logits = Tiny.Logits(model, [1, 2, 3, 4], 4);
            model.Save(folder.Path);
        }
        using LanguageModel again = LanguageModel.Load(folder.Path, backend);
        Assert.True(config.Describes(again.Config));
        Parity.Bits.Equal("logits", logits, Tiny.Logits(again, [1, 2, 3, 4], 4));
    }
}
