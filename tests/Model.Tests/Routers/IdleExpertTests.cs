using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>An expert that no token chose has a gradient of zeros, not none, and the optimiser takes it along.</summary>
public sealed class IdleExpertTests
{
    public static TheoryData<string, string> Runs { get; } = Machines.Runs(["dynamic-moe", "mixtral"], Machines.All);

    [Theory]
    [MemberData(nameof(Runs))]
    public void HasZeroGradients(string family, string machine)
    {
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family(family), Tiny.Config(family), seed: 4);
        using AdamW optimizer = new(backend, model.Weights.All, new AdamWOptions());
        using Tape g = Tape.Training(backend);
        for (int step = 0; step < 2; step++)
        {
            model.Weights.ZeroGrad();
            List<LayerOutput> layers = [];
            Tensor logits = model.Transformer.Forward(g, Batch.Packed(g, [3], [1]), layers).Logits;
            float[] kept = backend.ToFloats(layers[0].Routing!.Value.Kept);
            g.Backward(Loss.Of(g, logits, [5], 1, layers, model.Config.RouterLosses).Total);
            g.Reset();

            Assert.Contains(0f, kept);
            for (int e = 0; e < kept.Length; e++)
                foreach (Tensor p in model.Weights.All.Where(p => p.Name!.StartsWith($"model.layers.0.mlp.experts.{e}.", StringComparison.Ordinal)))
                {
                    float[] gradient = backend.ToFloats(p.Grad!);
                    Assert.True(kept[e] > 0 ? gradient.All(float.IsFinite) && gradient.Any(static d => d != 0) : gradient.All(static d => d == 0), p.Name);
                }
            float before = Norm();
            optimizer.Step(1e-2f);
            Assert.True(float.IsFinite(Norm()) && Norm() != before);
        }

        float Norm() => model.Weights.All.Sum(p => backend.ToFloats(p).Sum(static x => x * x));
    }
}
