using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Memory;

/// <summary>Nothing else may run in the process while allocations are counted.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Alone
{
    public const string Name = "alone";
}

/// <summary>After warm-up a decode step allocates no managed byte, on any thread.</summary>
[Collection(Alone.Name)]
public sealed class DecodeAllocationTests
{
    private const int Warmup = 30, Steps = 4, Attempts = 60;

    public static TheoryData<string, string> Runs { get; } =
        Machines.Runs(GoldenCase.Names, [Machines.Cpu(8, 1), Machines.Cpu(8, 2), Machines.Cpu(4, 2)]);

    [Theory]
    [MemberData(nameof(Runs))]
    public void DecodingAllocatesNothing(string golden, string machine)
    {
        GoldenCase expected = new(golden);
        using IBackend backend = Machines.Make(machine);
        using LanguageModel model = LanguageModel.Load(expected.Folder, backend);
        using Generator generator = new(model.Transformer, backend, capacity: Warmup + Steps * Attempts + expected.Greedy.Prompt.Length);
        Sampler sampler = new(new SamplerOptions(Temperature: 1));
        int[] counts = new int[generator.MoeLayers];
        generator.Feed(expected.Greedy.Prompt);
        int token = generator.Sample(sampler)[0];
        Decode(Warmup);

        // The test host's own threads allocate now and then; a step that allocates does so in every attempt.
        long least = long.MaxValue;
        for (int i = 0; i < Attempts && least > 0; i++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            Decode(Steps);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        Assert.Equal(0, least);

        void Decode(int steps)
        {
            for (int i = 0; i < steps; i++)
            {
                generator.Feed([token]);
                token = generator.Sample(sampler)[0];
                generator.CountExperts(counts);
            }
        }
    }
}
