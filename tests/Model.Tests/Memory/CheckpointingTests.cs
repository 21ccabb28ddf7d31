using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Memory;

/// <summary>Blocks that forget their insides and compute them again give the same loss and gradients, bit by bit, in less memory.</summary>
public sealed class CheckpointingTests
{
    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Names, [Machines.Reference, Machines.Cpu(8, 2)]);

    [Theory]
    [MemberData(nameof(Runs))]
    public void ChangesNoBit(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend, trainable: true);
        (float[] loss, List<float[]> gradients, int live) = Run(checkpoint: false);
        (float[] lossAgain, List<float[]> gradientsAgain, int liveAgain) = Run(checkpoint: true);

        Bits.Equal("loss", loss, lossAgain);
        for (int i = 0; i < gradients.Count; i++)
            Bits.Equal(model.Weights.All[i].Name!, gradients[i], gradientsAgain[i]);
        Assert.True(liveAgain <= live / 2, $"{liveAgain} buffers with checkpointing, {live} without");

        (float[], List<float[]>, int) Run(bool checkpoint)
        {
            using Tape g = Tape.Training(backend, checkpoint);
            model.Weights.ZeroGrad();
            List<LayerOutput> layers = [];
            int length = expected.Input.Length;
            Tensor logits = model.Transformer.Forward(g, Batch.Packed(g, expected.Input.Ids, [length, length]), layers).Logits;
            int live = backend.LiveBuffers - model.Weights.All.Count * 2;   // before the losses, which are in no block
            LossTerms terms = Loss.Of(g, logits, Loss.NextTokens(expected.Input.Ids, length), 1f / (2 * length - 2), layers, model.Config.RouterLosses);
            float[] total = backend.ToFloats(terms.Total);
            g.Backward(terms.Total);
            return (total, [.. model.Weights.All.Select(p => backend.ToFloats(p.Grad!))], live);
        }
    }
}
