using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Cli.Measuring;
using MoeFromScratch.Gpu;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe bench</c>: this machine's limits, the kernels beside them, and a model's speed.</summary>
internal static class BenchVerb
{
    /// <summary>Larger models are not trained here: a step would take minutes.</summary>
    private const long MostTrained = 50_000_000;

    private const int Prompt = 512, More = 64, Rounds = 7;

    /// <param name="Prompt">Null for the usual number, or as many as there is room for.</param>
    /// <param name="More">The same.</param>
    private sealed record Settings(string Device, string Precision, int Threads, string Folder, DType CacheType, int? Prompt, int? More, int Rounds, bool Json)
    {
        /// <summary>The limits that are measured, and the shares that are printed, are those of the cpu device.</summary>
        public bool IsCpu => Device is "auto" or "cpu";

        /// <summary>The tokens of the prompt and those written on, for a model.</summary>
        /// <exception cref="ArgumentException">They are more than its context.</exception>
        public (int Prompt, int More) Within(int context)
        {
            int more = More ?? Math.Clamp(Prompt is { } given ? context - given : context / 4, 1, BenchVerb.More);
            int prompt = Prompt ?? Math.Clamp(context - more, 1, BenchVerb.Prompt);
            return (long)prompt + more <= context ? (prompt, more)
                : throw new ArgumentException($"--prompt-tokens {prompt} and --max-new-tokens {more} are together more than the model's context of {context}");
        }
    }

    public static Command Command()
    {
        Argument<string?> checkpoint = new("CHECKPOINT") { Description = "Folder with config.json and safetensors; the built-in model unless named.", Arity = ArgumentArity.ZeroOrOne };
        Option<int?> prompt = Count("--prompt-tokens", $"Tokens of the prompt; {Prompt}, or as many as the model's context leaves,");
        Option<int?> more = Count("--max-new-tokens", $"Tokens to write on; {More}, or fewer in a short context,");
        Option<int?> rounds = Count("--rounds", $"How often each figure is measured, in turns; {Rounds}");
        Option<string> device = Common.Device(), precision = Common.Precision();
        Option<string> kvCache = Common.KvCache();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("the medians");
        Command command = new("bench", "Measure this machine and a model's speed on it.") { checkpoint, prompt, more, rounds, kvCache, device, precision, threads, json };
        command.SetAction(r =>
        {
            string name = r.GetValue(device)!;
            int? simulated = GpuDevices.IsSimulation(name) ? 1 : null;
            Settings settings = new(name, r.GetValue(precision)!, r.GetValue(threads) is > 0 and var n ? n : Environment.ProcessorCount, r.GetValue(checkpoint) ?? Common.BuiltInFolder(),
                Common.CacheType(r.GetValue(kvCache)!), r.GetValue(prompt) ?? simulated, r.GetValue(more) ?? simulated, r.GetValue(rounds) ?? simulated ?? Rounds, r.GetValue(json));
            if (settings.Prompt < 1 || settings.More < 1 || settings.Rounds < 1)
                throw new ArgumentException("--prompt-tokens, --max-new-tokens and --rounds must be above 0");
            using IBackend backend = Common.Backend(name, r.GetValue(threads), r.GetValue(precision)!);
            Run(backend, settings);
            return Program.Success;
        });
        return command;
    }

    private static Option<int?> Count(string name, string description) => new(name) { Description = $"{description} unless said, 1 on ilgpu-cpu.", HelpName = "N" };

    private static void Run(IBackend backend, Settings s)
    {
        long start = Stopwatch.GetTimestamp();
        using LanguageModel model = LanguageModel.Load(s.Folder, backend);
        double load = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        (int prompt, int more) = s.Within(model.Config.MaxPositions);
        using MachineFigures? machine = s.IsCpu ? new(backend, s.Threads) : null;
        Figure.Measure(machine?.All ?? [], s.Rounds, left => Progress("machine", left));
        bool simulated = GpuDevices.IsSimulation(s.Device);
        using DeviceFigures? ceilings = !GpuDevices.Knows(s.Device) ? null : simulated ? new(backend, 256, 32) : new(backend, 1 << 26, 4096);
        Figure.Measure(ceilings?.All ?? [], s.Rounds, left => Progress("device", left));
        bool trains = model.Weights.Count <= MostTrained && !simulated;
        using ModelFigures own = new(model, prompt, more, trains ? s.Folder : null, s.CacheType);
        Figure.Measure(own.All, s.Rounds, left => Progress("model", left));
        Progress("", 0);
        if (s.Json)
        {
            Common.PrintJson(Json(s, load, machine, ceilings, own));
            return;
        }
        string where = s.IsCpu ? $"{CpuBackend.Instructions}, {s.Threads} threads" : $"{s.Device}{Description(s.Device)}, products in {s.Precision}";
        Console.WriteLine($"{where}, .NET {Environment.Version}; {(s.Rounds == 1 ? "1 round" : $"{s.Rounds} rounds in turns: median, best")}");
        if (machine is not null)
            Print(machine);
        foreach (Figure figure in ceilings?.All ?? [])
            Print(figure, null);
        Console.WriteLine($"{s.Folder}: {model.Family.Name}, {model.Weights.Count:n0} parameters");
        Console.WriteLine($"{"load, the first in this process",-60}{load,10:n1}{"",10} ms");
        foreach (Figure figure in own.All)
            Print(figure, null);
        if (own.Launches is { } launches)
        {
            Console.WriteLine($"{"kernel launches per decoded token",-60}{launches.PerToken,10:n1}");
            Console.WriteLine($"{$"  in each layer; {launches.AfterLayers} come after the last",-60}{launches.PerTokenAndLayer,10:n1}");
            Console.WriteLine($"{"crossings to the host per decoded token",-60}{launches.CrossingsPerToken,10:n1}");
        }
        double bytes = DecodeBytes(own);
        Console.WriteLine($"{"weights read while decoding",-60}{bytes,10:n1}{"",10} GB/s   {((machine?.Read ?? ceilings?.Copy) is { } limit ? $"{bytes / limit.Median,6:p0} of the limit" : "")}".TrimEnd());
        Console.WriteLine($"{"peak memory",-60}{PeakMemory() / 1e6,10:n0}{"",10} MB");
        if (!GpuDevices.Knows(s.Device))   // whose kernels are only queued when they return
            PrintStages(backend, s, prompt, more);
    }

    private static JsonObject Json(Settings s, double load, MachineFigures? machine, DeviceFigures? ceilings, ModelFigures own)
    {
        JsonObject all = new()
        {
            ["load_ms"] = Round(load),
            ["prefill_tokens_per_s"] = Round(own.Prefill.Median),
            ["decode_tokens_per_s"] = Round(own.Decode.Median),
        };
        if (own.Train is { } train)
            all["train_tokens_per_s"] = Round(train.Median);
        if (own.Launches is { } launches)
        {
            all["launches_per_token"] = Round(launches.PerToken);
            all["launches_per_token_and_layer"] = Round(launches.PerTokenAndLayer);
            all["host_crossings_per_token"] = Round(launches.CrossingsPerToken);
        }
        if (machine is not null)
        {
            all["gemm_gflops"] = Round(machine.Gemm.Median);
            all["gemm_share_of_peak"] = Math.Round(machine.Gemm.Median / machine.Peak.Median, 3);
            all["moe_layer_gflops"] = Round(machine.MoeLayer.Median);
        }
        if (ceilings is not null)
        {
            all["precision"] = s.Precision;
            all["copy_gb_per_s"] = Round(ceilings.Copy.Median);
            all["gemm_gflops"] = Round(ceilings.Product.Median);
        }
        all["decode_gb_per_s"] = Round(DecodeBytes(own));
        if (machine is not null)
            all["read_bandwidth_gb_per_s"] = Round(machine.Read.Median);
        all["peak_rss_bytes"] = PeakMemory();
        return all;
    }

    /// <summary>10⁹ bytes of weights per second.</summary>
    private static double DecodeBytes(ModelFigures own) => 1e-9 * own.BytesPerToken() * own.Decode.Median;

    private static long PeakMemory()
    {
        using Process process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    private static string Description(string device) =>
        GpuDevices.List().FirstOrDefault(d => d.Name == device) is { } known ? $": {known.Description}" : "";

    private static void Print(MachineFigures machine)
    {
        foreach (Figure figure in machine.All)
            Print(figure, figure.Unit switch
            {
                _ when figure == machine.Peak || figure == machine.Read => null,
                "GFLOP/s" => figure.Median / machine.Peak.Median,
                "GB/s" => figure.Median / machine.Read.Median,
                _ => null,
            });
        Console.WriteLine();
    }

    /// <summary>Where the time goes, on a model of its own whose every kernel is timed.</summary>
    private static void PrintStages(IBackend backend, Settings s, int prompt, int more)
    {
        using TimedBackend timed = new(backend);
        using LanguageModel model = LanguageModel.Load(s.Folder, timed);
        using ModelFigures figures = new(model, prompt, more, folder: null, s.CacheType);
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
