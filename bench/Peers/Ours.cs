using System.Diagnostics;
using System.Globalization;
using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Bench.Peers;

/// <summary>Our side of a match: one measurement, printed as lines "name, tab, value".</summary>
internal static class Ours
{
    public const int Experts = 8;

    private const int Hidden = 1024, Tokens = 2048, Width = 2048, BatchSize = 8, Context = 256, Prompt = 512, More = 64;

    public static void Print(ReadOnlySpan<string> args)
    {
        using IBackend cpu = CpuBackend.Create();
        switch (args)
        {
            case ["gemm", var t, var d, var n]:
                Print("gemm", Gemm(cpu, Int(t), Int(d), Int(n)));
                break;
            case ["matvec", var type, var n, var d]:
                Print("bandwidth", MatVec(cpu, Enum.Parse<DType>(type), Int(n), Int(d)));
                break;
            case ["peak"]:
                using (MachineLimits limits = new(Environment.ProcessorCount))
                    Print("gemm", Rate(() => 1e-9 * limits.MultiplyAdd(), 15));
                break;
            case ["layer", var load]:
                double rate = Rate(Layer(cpu, load), 9);
                Print("layer", 1e3 / rate);
                Print("gemm", 1e-9 * rate * Tokens * 2 * 6 * Hidden * Width);
                break;
            case ["gain", var tau]:
                Func<double> plain = Layer(cpu, "balanced"), with = Layer(cpu, tau);
                Print("gain", PeerTable.Median([.. Enumerable.Range(0, 11).Select(_ => Seconds(plain) / Seconds(with)).Skip(2)]));
                break;
            case ["model", var shape, var dtype, var models]:
                Model(cpu, Path.Combine(models, $"{shape}-{dtype}"), shape, Enum.Parse<DType>(dtype));
                break;
            case ["train"]:
                Print("train", Training(cpu, RandomModels.Shapes["T"]));
                break;
            case ["routed", var work, var experts]:
                ModelConfig config = Routed(cpu, RandomModels.Shapes[work == "train" ? "T" : "S"], double.Parse(experts, CultureInfo.InvariantCulture));
                Print("rate", work == "train" ? Training(cpu, config) : Prefill(cpu, config));
                break;
            default:
                throw new ArgumentException($"nothing is called {string.Join(' ', args!)}");
        }
        using Process process = Process.GetCurrentProcess();
        Print("rss", process.PeakWorkingSet64 / (double)(1 << 20));
    }

    private static double Gemm(IBackend cpu, int t, int d, int n)
    {
        Tensor x = Inputs.Random(cpu, [t, d], 1), w = Inputs.Random(cpu, [n, d], 2), y = cpu.New([t, n]);
        return Rate(() =>
        {
            cpu.Linear(x, w, y);
            return 2e-9 * t * d * n;
        }, 15);
    }

    /// <summary>Gigabytes of weights that one row is multiplied with in a second, as in decoding.</summary>
    private static double MatVec(IBackend cpu, DType type, int n, int d)
    {
        Tensor x = Inputs.Random(cpu, [1, d], 1), w = cpu.New([n, d], type), y = cpu.New([1, n]);
        w.Host<byte>().Fill(0x2A);      // a small number in every type
        return Rate(() =>
        {
            cpu.Linear(x, w, y);
            return 1e-9 * w.Bytes;
        }, 15);
    }

    /// <summary>A pass through the layer, whose router has to choose what the load prescribes.</summary>
    /// <param name="load">"balanced", "half", "lonely", or MoE++'s tau of a layer with four zero-computation experts besides.</param>
    private static Func<double> Layer(IBackend cpu, string load)
    {
        double[] shares = load switch
        {
            "balanced" => [.. Enumerable.Repeat(1.0 / Experts, Experts)],
            "half" => [0.5, .. Enumerable.Repeat(0.5 / (Experts - 1), Experts - 1)],
            "lonely" => [0, 0.5 / Tokens, .. Enumerable.Repeat((1 - 0.5 / Tokens) / (Experts - 2), Experts - 2)],
            _ when double.Parse(load, CultureInfo.InvariantCulture) is var tau =>
                [.. Enumerable.Repeat(tau / (Experts * tau + 4), Experts), .. Enumerable.Repeat(1 / (Experts * tau + 4), 4)],
            _ => throw new ArgumentException($"no load is called {load}"),
        };
        return Layer(cpu, shares);
    }

    /// <summary>The layer with such shares of the choices, of eight experts and of four without computation where there are twelve.</summary>
    public static Func<double> Layer(IBackend cpu, double[] shares)
    {
        List<ExpertBankConfig> banks = [new FfnExpertsConfig(Experts, Width)];
        if (shares.Length > Experts)
            banks.AddRange([new ZeroExpertsConfig(1), new CopyExpertsConfig(1), new ConstantExpertsConfig(2)]);
        ModelConfig model = RandomModels.Mixtral(Hidden, 1, 1, 1, 1, 1);
        WeightStore weights = new(cpu, new RandomWeights(1), trainable: false);
        MoeLayer layer = new(model, new MoeConfig(new PrescribedRouterConfig(PrescribedRouter.Logits(Tokens, shares)), banks), weights.Root);
        Tape g = Tape.Inference(cpu);
        Tensor x = Inputs.Random(cpu, [Tokens, Hidden], 2);
        return () =>
        {
            g.Reset();
            layer.Forward(g, x, default);
            return 1;
        };
    }

    private static void Model(IBackend cpu, string folder, string shape, DType dtype)
    {
        if (dtype.IsQuantised())
            folder += ".gguf";
        else if (!Directory.Exists(folder))
            RandomModels.Write(shape, dtype, folder);
        long start = Stopwatch.GetTimestamp();
        using LanguageModel model = LanguageModel.Load(folder, cpu);
        Print("load", Stopwatch.GetElapsedTime(start).TotalSeconds);
        using Generator generator = new(model.Transformer, cpu, Prompt + More);
        int[] prompt = RandomModels.Tokens(Prompt, model.Config.VocabSize);
        List<double> prefill = [], decode = [];
        for (int round = -1; round < 3; round++)
        {
            generator.Clear();
            start = Stopwatch.GetTimestamp();
            generator.Feed(prompt);
            double read = Stopwatch.GetElapsedTime(start).TotalSeconds;
            for (int i = 0; i < More; i++)
                generator.Feed(prompt.AsSpan(i, 1));
            if (round < 0)
                continue;
            prefill.Add(Prompt / read);
            decode.Add(More / (Stopwatch.GetElapsedTime(start).TotalSeconds - read));
        }
        Print("prefill", PeerTable.Median(prefill));
        Print("decode", PeerTable.Median(decode));
    }

    private static double Prefill(IBackend cpu, ModelConfig config)
    {
        using LanguageModel model = LanguageModel.Create(cpu, new FromScratch(), config, new RandomWeights(1), trainable: false);
        using Generator generator = new(model.Transformer, cpu, Prompt);
        int[] prompt = RandomModels.Tokens(Prompt, config.VocabSize);
        return Rate(() =>
        {
            generator.Clear();
            generator.Feed(prompt);
            return Prompt;
        }, 5);
    }

    private static double Training(IBackend cpu, ModelConfig config)
    {
        using LanguageModel model = LanguageModel.Create(cpu, new FromScratch(), config, seed: 1);
        using Trainer trainer = new(model, new TokenData(RandomModels.Tokens(20 * (Context + 1), config.VocabSize), Context), new TrainOptions
        {
            Steps = int.MaxValue,
            BatchSize = BatchSize,
            Context = Context,
            LearningRate = new LrSchedule(LrDecay.Constant, Peak: 1e-6f, WarmupSteps: 0, TotalSteps: int.MaxValue),
        });
        return Rate(() =>
        {
            trainer.Step();
            return BatchSize * Context;
        }, 5);
    }

    /// <summary>The model with top-2 routers, or with Top-P ones whose threshold is searched until tokens use so many experts on average.</summary>
    private static ModelConfig Routed(IBackend cpu, ModelConfig config, double experts)
    {
        if (experts == 2)
            return config;
        float low = 0, high = 1;
        for (int i = 0; i < 9; i++)
        {
            float middle = (low + high) / 2;
            (low, high) = ExpertsPerToken(cpu, With(middle)) < experts ? (middle, high) : (low, middle);
        }
        return With(high);

        ModelConfig With(float p) => config with
        {
            Layers = [.. config.Layers.Cast<MoeConfig>().Select(l => l with { Router = new TopPRouterConfig(p) })],
        };
    }

    private static double ExpertsPerToken(IBackend cpu, ModelConfig config)
    {
        using LanguageModel model = LanguageModel.Create(cpu, new FromScratch(), config, new RandomWeights(1), trainable: false);
        using Tape g = Tape.Inference(cpu);
        List<LayerOutput> layers = [];
        model.Transformer.Forward(g, Batch.Packed(g, RandomModels.Tokens(Context, config.VocabSize), [Context]), layers);
        return layers.Average(static l => (double)l.Routing!.Value.HostOffsets![^1] / Context);
    }

    /// <summary>Median of so many rounds, once the JIT has made what it makes of code that runs often: two rounds and a second.</summary>
    private static double Rate(Func<double> work, int times)
    {
        List<double> rates = [];
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < 2 || Stopwatch.GetElapsedTime(start).TotalSeconds < 1; i++)
            work();
        for (int i = 0; i < times; i++)
        {
            double seconds = Seconds(work, out double amount);
            rates.Add(amount / seconds);
        }
        return PeerTable.Median(rates);
    }

    private static double Seconds(Func<double> work) => Seconds(work, out _);

    private static double Seconds(Func<double> work, out double amount)
    {
        long start = Stopwatch.GetTimestamp();
        amount = work();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static int Int(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static void Print(string name, double value) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}\t{value}"));
}
