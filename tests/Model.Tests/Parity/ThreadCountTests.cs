using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Parity;

/// <summary>The number of threads changes no bit: forward, gradients, training steps.</summary>
public sealed class ThreadCountTests
{
    public static TheoryData<string, int> Goldens { get; } = Widths(GoldenCase.Names);
    public static TheoryData<string, int> Wide { get; } = Widths(["dynamic-moe", "mixtral"]);

    [Theory]
    [MemberData(nameof(Goldens))]
    public void GoldenModelsAreBitEqual(string golden, int lanes)
    {
        GoldenCase expected = new(golden);
        BitEqual(lanes, backend => LanguageModel.Load(expected.Folder, backend, trainable: true), expected.Input,
            (trace, model, input) => expected.Training?.Run(trace, model, input));
    }

    /// <summary>Large enough that every kernel has pieces to hand out.</summary>
    [Theory]
    [MemberData(nameof(Wide))]
    public void LargerModelsAreBitEqual(string family, int lanes)
    {
        ModelConfig tiny = Tiny.Config(family);
        AttentionConfig attention = tiny.Attention with { HeadDim = 72 / tiny.Attention.Heads };
        ModelConfig config = tiny with { VocabSize = 400, HiddenSize = 72, Attention = attention, InitStd = 0.1f };
        TraceInput input = Tiny.Input(config, sequences: 2, length: 70);
        BitEqual(lanes, backend => LanguageModel.Create(backend, Tiny.Family(family), config, seed: 3), input,
            static (trace, model, input) => Tracer.TrainSteps(trace, model, input, 1, 1e-3f, new AdamWOptions(), clipNorm: 1));
    }

    private static void BitEqual(int lanes, Func<IBackend, LanguageModel> make, TraceInput input, Action<Trace, LanguageModel, TraceInput> train)
    {
        Trace one = Run(1);
        for (int threads = 2; threads <= 4; threads++)
            Bits.Equal(one, Run(threads));

        Trace Run(int threads)
        {
            using IBackend backend = Machines.Make(Machines.Cpu(lanes, threads));
            using LanguageModel model = make(backend);
            Trace trace = new();
            Tracer.Forward(trace, model, input);
            Tracer.Gradients(trace, model, input);
            train(trace, model, input);
            return trace;
        }
    }

    private static TheoryData<string, int> Widths(IEnumerable<string> names)
    {
        TheoryData<string, int> data = [];
        foreach (string name in names)
            foreach (int lanes in new[] { 4, 8, 16 })
                data.Add(name, lanes);
        return data;
    }
}
