using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Cli.Measuring;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe bench</c>: this machine's limits, the kernels beside them, and a model's speed.</summary>
internal static class BenchVerb
{
    /// <summary>Larger models are not trained here: a step would take minutes.</summary>
    private const long MostTrained = 50_000_000;

    public static Command Command()
    {
        Argument<string?> checkpoint = new("CHECKPOINT") { Description = "Folder with config.json and safetensors; the built-in model unless named.", Arity = ArgumentArity.ZeroOrOne };
        Option<int> prompt = new("--prompt-tokens") { Description = "Tokens of the prompt.", DefaultValueFactory = _ => 512, HelpName = "N" };
        Option<int> more = new("--max-new-tokens") { Description = "Tokens to write on.", DefaultValueFactory = _ => 64, HelpName = "N" };
        Option<int> rounds = new("--rounds") { Description = "How often each figure is measured, in turns.", DefaultValueFactory = _ => 7, HelpName = "N" };
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("the medians");
        Command command = new("bench", "Measure this machine and a model's speed on it.") { checkpoint, prompt, more, rounds, threads, json };
        command.SetAction(r =>
        {
            if (r.GetValue(prompt) < 1 || r.GetValue(more) < 1 || r.GetValue(rounds) < 1)
                throw new ArgumentException("--prompt-tokens, --max-new-tokens and --rounds must be above 0");
            string folder = r.GetValue(checkpoint) ?? Common.BuiltInFolder();
            using IBackend backend = Common.Backend("cpu", r.GetValue(threads));
            int workers = r.GetValue(threads) is > 0 and var n ? n : Environment.ProcessorCount;
            Run(backend, workers, folder, r.GetValue(prompt), r.GetValue(more), r.GetValue(rounds), r.GetValue(json));
            return Program.Success;
        });
        return command;
    }

    private static void Run(IBackend backend, int threads, string folder, int prompt, int more, int rounds, bool json)
    {
        long start = Stopwatch.GetTimestamp();
        using LanguageModel model = LanguageModel.Load(folder, backend);
        double load = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        using MachineFigures machine = new(backend, threads);
        Figure.Measure(machine.All, rounds, left => Progress("machine", left));
        using ModelFigures own = new(model, prompt, more, model.Weights.Count <= MostTrained ? folder : null);
        Figure.Measure(own.All, rounds, left => Progress("model", left));
        Progress("", 0);
        double decodeBytes = 1e-9 * own.BytesPerToken() * own.Decode.Median;
        using Process process = Process.GetCurrentProcess();

        if (json)
        {
            JsonObject all = new()
            {
                ["load_ms"] = Round(load),
                ["prefill_tokens_per_s"] = Round(own.Prefill.Median),
                ["decode_tokens_per_s"] = Round(own.Decode.Median),
                ["gemm_gflops"] = Round(machine.Gemm.Median),
                ["gemm_share_of_peak"] = Math.Round(machine.Gemm.Median / machine.Peak.Median, 3),
                ["moe_layer_gflops"] = Round(machine.MoeLayer.Median),
                ["decode_gb_per_s"] = Round(decodeBytes),
                ["read_bandwidth_gb_per_s"] = Round(machine.Read.Median),
                ["peak_rss_bytes"] = process.PeakWorkingSet64,
            };
            if (own.Train is { } train)
                all.Insert(3, "train_tokens_per_s", Round(train.Median));
            Common.PrintJson(all);
            return;
        }
        Console.WriteLine($"{CpuBackend.Instructions}, {threads} threads, .NET {Environment.Version}; {rounds} rounds in turns: median, best");
        foreach (Figure figure in machine.All)
            Print(figure, figure.Unit switch
            {
                _ when figure == machine.Peak || figure == machine.Read => null,
                "GFLOP/s" => figure.Median / machine.Peak.Median,
                "GB/s" => figure.Median / machine.Read.Median,
                _ => null,
            });
        Console.WriteLine();
        Console.WriteLine($"{folder}: {model.Family.Name}, {model.Weights.Count:n0} parameters");
        Console.WriteLine($"{"load, the first in this process",-60}{load,10:n1}{"",10} ms");
        foreach (Figure figure in own.All)
            Print(figure, null);
        Console.WriteLine($"{"weights read while decoding",-60}{decodeBytes,10:n1}{"",10} GB/s   {decodeBytes / machine.Read.Median,6:p0} of the limit");
        Console.WriteLine($"{"peak memory",-60}{process.PeakWorkingSet64 / 1e6,10:n0}{"",10} MB");
        PrintStages(backend, folder, prompt, more);
    }

    /// <summary>Where the time goes, on a model of its own whose every kernel is timed.</summary>
    private static void PrintStages(IBackend backend, string folder, int prompt, int more)
    {
        using TimedBackend timed = new(backend);
        using LanguageModel model = LanguageModel.Load(folder, timed);
        using ModelFigures figures = new(model, prompt, more, folder: null);
        Figure.Measure(figures.All, rounds: 1, static _ => { }, warmup: 1);
        foreach (Figure figure in figures.All)
        {
            timed.Clear();
            figure.Work();
            double all = timed.Times.Sum(static t => t.Seconds);
            Console.WriteLine();
            Console.WriteLine(figure.Name);
            foreach ((string name, double seconds) in timed.Times.Where(t => t.Seconds >= 0.01 * all))
                Console.WriteLine($"  {name,-58}{seconds / all,10:p1}");
        }
    }

    private static void Print(Figure figure, double? share) =>
        Console.WriteLine($"{figure.Name,-60}{figure.Median,10:n1}{figure.Best,10:n1} {figure.Unit,-8}{(share is { } s ? $"{s,6:p0} of the limit" : "")}".TrimEnd());

    /// <summary>Four digits: more are noise.</summary>
    private static double Round(double value) => double.Parse(value.ToString("g4", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static void Progress(string what, int left)
    {
        if (!Console.IsErrorRedirected)
            Console.Error.Write(left > 0 ? $"\r{what}: {left} rounds left    " : "\r                              \r");
    }
}
