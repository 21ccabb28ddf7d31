using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Cli.Measuring;
using MoeFromScratch.Gpu;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

/// <summary>Models with random weights: reading a prompt, writing on, training.</summary>
internal static class ModelTable
{
    private const int Batch = 8, Context = 256, Rounds = 3;

    public static void Print(IBackend backend, Sizes sizes, Ceilings ceilings)
    {
        Console.WriteLine();
        Console.WriteLine("| model | prefill, tokens/s | decode, tokens/s | launches per token | weights read, share of the ceiling | training, tokens/s |");
        Console.WriteLine("|---|---:|---:|---:|---:|---:|");
        foreach (string name in sizes.Models)
            foreach (DType type in new[] { DType.F32, DType.BF16 })
                Console.WriteLine(Row(backend, sizes, ceilings, name, type));
    }

    private static string Row(IBackend backend, Sizes sizes, Ceilings ceilings, string name, DType type)
    {
        ModelConfig config = RandomModels.Shapes[name];
        int[] prompt = RandomModels.Tokens(sizes.Prompt, config.VocabSize);
        Sampler greedy = new(new SamplerOptions());
        using LanguageModel model = RandomModels.Create(backend, config, type);
        using Generator generator = new(model.Transformer, backend, sizes.Prompt + sizes.Decoded);
        GpuCounts before = default;
        Figure prefill = new("prefill", "tokens/s", () =>
        {
            generator.Clear();
            generator.Feed(prompt);
            generator.Sample(greedy);
            before = GpuDevices.Count(backend) ?? default;
            return sizes.Prompt;
        });
        Figure decode = new("decode", "tokens/s", () =>
        {
            for (int i = 0; i < sizes.Decoded; i++)
            {
                generator.Feed(prompt.AsSpan(i % prompt.Length, 1));
                generator.Sample(greedy);
            }
            return sizes.Decoded;
        });
        Figure.Measure([prefill, decode], sizes.Seconds > 0 ? Rounds : 1, static _ => { }, warmup: sizes.Seconds > 0 ? 1 : 0);
        double launches = (double)((GpuDevices.Count(backend) ?? default) - before).Launches / sizes.Decoded;
        double read = decode.Median * Active(config) * type.Size() / ceilings.Bytes;
        string training = type == DType.F32 && sizes.Seconds > 0 ? $"{Training(backend, config):f0}" : "";
        return $"| {name}, {type} | {prefill.Median:f1} | {decode.Median:f1} | {launches:f0} | {read:p0} | {training} |";
    }

    private static double Training(IBackend backend, ModelConfig config)
    {
        using LanguageModel model = LanguageModel.Create(backend, new FromScratch(), config, seed: 1);
        using Trainer trainer = new(model, new TokenData(RandomModels.Tokens(40 * (Context + 1), config.VocabSize), Context), new TrainOptions
        {
            Steps = int.MaxValue,
            BatchSize = Batch,
            Context = Context,
            LearningRate = new LrSchedule(LrDecay.Constant, Peak: 1e-6f, WarmupSteps: 0, TotalSteps: int.MaxValue),
            RouterLosses = config.RouterLosses,
        });
        Figure steps = new("training", "tokens/s", () =>
        {
            trainer.Step();
            return Batch * Context;
        });
        Figure.Measure([steps], Rounds, static _ => { });
        return steps.Median;
    }

    /// <summary>Parameters that a token reads: all but the experts it does not choose, and the embedding.</summary>
    private static double Active(ModelConfig c)
    {
        double active = (double)c.VocabSize * c.HiddenSize;
        foreach (MoeConfig layer in c.Layers.OfType<MoeConfig>())
            active += c.HiddenSize * (2.0 * c.Attention.Heads + 2 * c.Attention.KvHeads) * c.Attention.HeadDim
                + 3.0 * c.HiddenSize * ((FfnExpertsConfig)layer.Banks[0]).IntermediateSize * ((TopKRouterConfig)layer.Router).TopK;
        return active;
    }
}
