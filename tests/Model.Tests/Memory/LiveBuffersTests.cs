using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Memory;

/// <summary>Whatever took memory from a backend gives all of it back when it is disposed.</summary>
public sealed class LiveBuffersTests
{
    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Names, [Machines.Reference, Machines.Cpu(8, 2)]);

    [Theory]
    [MemberData(nameof(Runs))]
    public void InferenceGivesBackEverything(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using (LanguageModel model = LanguageModel.Load(expected.Folder, backend))
        {
            int held = backend.LiveBuffers;
            using (Generator generator = new(model.Transformer, backend, capacity: 12))
            {
                generator.Feed(expected.Greedy.Prompt);
                generator.Feed([1]);
                int warm = backend.LiveBuffers;
                generator.Feed([1]);
                Assert.Equal(warm, backend.LiveBuffers);
                generator.Clear();
                generator.Feed([1]);
            }
            Assert.Equal(held, backend.LiveBuffers);
            Tracer.Forward(new Trace(), model, expected.Input);
            Assert.Equal(held, backend.LiveBuffers);
        }
        Assert.Equal(0, backend.LiveBuffers);
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void TrainingGivesBackEverything(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using (LanguageModel model = LanguageModel.Load(expected.Folder, backend, trainable: true))
        {
            int held = backend.LiveBuffers;
            Tracer.Gradients(new Trace(), model, expected.Input);
            expected.Training?.Run(new Trace(), model, expected.Input);
            Assert.Equal(held, backend.LiveBuffers);
            foreach (bool checkpoint in new[] { false, true })
            {
                TrainOptions options = Texts.Options(context: 8) with { CheckpointBlocks = checkpoint };
                using (Trainer trainer = new(model, new TokenData([.. Enumerable.Range(0, 90).Select(i => i % model.Config.VocabSize)], context: 8), options))
                {
                    trainer.Step();
                    int warm = backend.LiveBuffers;
                    trainer.Step();
                    trainer.Validate(windows: 1);
                    Assert.Equal(warm, backend.LiveBuffers);
                }
                Assert.Equal(held, backend.LiveBuffers);
            }
        }
        Assert.Equal(0, backend.LiveBuffers);
    }

    [Fact]
    public void TapesAreEmptyAfterDispose()
    {
        using IBackend backend = Machines.Make(Machines.Reference);
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("dynamic-moe"), Tiny.Config("dynamic-moe"), seed: 1);
        int held = backend.LiveBuffers;
        foreach (Func<Tape> open in new Func<Tape>[]
            { () => Tape.Training(backend), () => Tape.Training(backend, checkpointBlocks: true), () => Tape.Inference(backend), () => Tape.Inference(backend, keepAll: true) })
        {
            using (Tape g = open())
            {
                model.Transformer.Forward(g, Batch.Packed(g, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [4, 6]), []);
                Assert.True(backend.LiveBuffers > held);
            }
            Assert.Equal(held, backend.LiveBuffers);
        }
    }
}
