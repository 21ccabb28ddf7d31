using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Tests;

/// <summary>Training that ends in the middle, in every way a process can end, and goes on.</summary>
public sealed class ResumeTests : IDisposable
{
    private const int SaveEvery = 3;

    private const string Config = """
        { "layers": 2, "hidden_size": 16, "heads": 2, "experts": 4, "intermediate_size": 16, "top_p": 0.4,
          "context": 16, "batch_size": 2, "steps": 240, "learning_rate": 0.01, "warmup_steps": 5,
          "load_balance": 0.01, "router_entropy": 0.0001 }
        """;

    private readonly Folder _folder = new();
    private readonly string _text, _config;

    public ResumeTests()
    {
        _text = _folder.Write("text.txt", string.Concat(Enumerable.Repeat("the cat sat on the mat.\n", 250)));     // more to validate with than a look in the middle takes
        _config = _folder.Write("tiny.json", Config);
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>
    /// Every third kill in the middle of a save, the others between: a run without an end is killed so many steps on, however long they
    /// take, and at last is to end a few steps further. The environment variable MOE_KILLS asks for more of them.
    /// </summary>
    [Fact]
    public void KilledAtAnyMomentItEndsAsIfItHadNot()
    {
        int kills = int.Parse(Environment.GetEnvironmentVariable("MOE_KILLS") ?? "6", CultureInfo.InvariantCulture);
        string whole = _folder["whole"], broken = _folder["broken"];
        for (int i = 0; i < kills; i++)
        {
            int steps = StepsLogged(broken) + 5 + i;
            using Process process = Start(Endless(broken, "--resume"));
            Wait(process, () => StepsLogged(broken) >= steps && (i % 3 != 0 || Directory.Exists(Path.Combine(broken, ".saving"))));
            process.Kill();
            process.WaitForExit();
            RequireAllLoad(broken);
        }
        int end = StepsLogged(broken) + 5;
        Outcome last = Tool.Run(Train(broken, end, "--resume"));
        Assert.True(last.ExitCode == 0, last.Error);
        Assert.Equal(0, Tool.Run(Train(whole, end)).ExitCode);
        RequireEqualRuns(whole, broken, end);
    }

    /// <summary>Once, and the run is saved where it is; twice, and it ends at once, with what was saved before.</summary>
    [SkippableTheory]
    [InlineData(1)]
    [InlineData(2)]
    public void StoppedByCtrlCItEndsAsIfItHadNot(int times)
    {
        Skip.If(OperatingSystem.IsWindows(), "sends SIGINT with kill");
        string whole = _folder["whole"], stopped = _folder["stopped"];
        using (Process process = Start(Endless(stopped)))
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            Wait(process, () => StepsLogged(stopped) >= 4);
            using (Process kill = Process.Start("kill", ["-INT", .. Enumerable.Repeat(process.Id.ToString(CultureInfo.InvariantCulture), times)]))
                kill.WaitForExit();
            Tool.RequireExit(process);
            Assert.Equal(Program.Interrupted, process.ExitCode);
            if (times == 1)
                Assert.Contains("--resume continues", output.Result, StringComparison.Ordinal);
        }
        RequireAllLoad(stopped);
        int end = StepsLogged(stopped) + 4;
        Assert.Equal(0, Tool.Run(Train(stopped, end, "--resume", "--threads", "1")).ExitCode);
        Assert.Equal(0, Tool.Run(Train(whole, end)).ExitCode);
        RequireEqualRuns(whole, stopped, end);
        Outcome again = Tool.Run(Train(stopped, end, "--resume", "--json"));
        Assert.Equal(end, (int)again.Json["steps"]!);
        Assert.Equal((float)Log(whole)[^1]["validation_loss"]!, (float)again.Json["validation_loss"]!);
    }

    [Fact]
    public void TwoRunsDoNotShareAFolder()
    {
        string run = _folder["shared"];
        using Process process = Start(Endless(run));
        Wait(process, () => StepsLogged(run) >= 4);
        Tool.Run(Train(run, 3, "--overwrite")).RequireError("another run is writing into", run);
        Tool.Run(Endless(run, "--resume")).RequireError("another run is writing into");
        Assert.False(process.HasExited);
        process.Kill();
        process.WaitForExit();
        Assert.Equal(0, Tool.Run(Train(run, 3, "--overwrite")).ExitCode);      // a killed run keeps nobody out
    }

    [Fact]
    public void ResumingOtherwiseIsRefusedByName()
    {
        string run = _folder["run"], other = _folder.Write("other.txt", string.Concat(Enumerable.Repeat("the mat sat on the cat.\n", 100)));
        Assert.Equal(0, Tool.Run("train", "--data", _text, "--config", _config, "--out", run, "--steps", "4").ExitCode);
        Outcome Resume(string data, params string[] options) =>
            Tool.Run(["train", "--data", data, "--config", _config, "--out", run, "--resume", .. options]);
        Resume(_text, "--steps", "5").RequireError("cannot resume", "steps was 4 and is 5 now");
        Resume(_text, "--steps", "4", "--seed", "1").RequireError("seed was 0 and is 1 now");
        Resume(other, "--steps", "4").RequireError("data was ");
        Resume(_text, "--steps", "4", "--overwrite").RequireError("--resume", "--overwrite");
        Assert.Equal(0, Resume(_text, "--steps", "4").ExitCode);
        Assert.Equal(4, Log(run).Count);
    }

    [Fact]
    public void SeveralFilesAreOneText()
    {
        string first = _folder.Write("first.txt", new string('a', 400)), second = _folder.Write("second.txt", new string('b', 400));
        Outcome run = Tool.Run("train", "--data", first, second, "--config", _config, "--out", _folder["two"], "--steps", "1");
        Assert.True(run.ExitCode == 0, run.Error);
        Assert.Contains("801 characters in 801 tokens of 3 kinds", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void ANaNNamesTheStepTheTensorAndWhatIsLeft()
    {
        string run = _folder["nan"];
        Tool.Run("train", "--data", _text, "--config", _config, "--out", run, "--learning-rate", "1e30").RequireLastError(": the ", "the first tensor that broke: ", "nothing was saved");
        Outcome saved = Tool.Run("train", "--data", _text, "--config", _config, "--out", run, "--learning-rate", "1e30", "--save-every", "1");
        saved.RequireLastError("moe: step ", "the first tensor that broke: ", "the last checkpoint is", "checkpoint-00000");
        RequireAllLoad(run);
    }

    /// <summary>A layer of many kinds, a capacity and an estimator: all by config alone.</summary>
    [Fact]
    public void AnyMixtureIsTrainedByItsDescription()
    {
        string config = _folder.Write("own.json", OwnModel), run = _folder["own"];
        Outcome first = Tool.Run("train", "--data", _text, "--config", config, "--out", run, "--steps", "6", "--save-every", "3");
        Assert.True(first.ExitCode == 0, first.Error);
        Assert.Equal(["heterogeneous_balance"], Log(run)[0]["router_losses"]!.AsObject().Select(static l => l.Key));
        Assert.Contains(Log(run), static l => l["dropped_per_token"] is not null);
        RequireAllLoad(run);
        Outcome generated = Tool.Run("generate", "the", "--model", run, "--max-new-tokens", "5", "--json");
        Assert.True(generated.ExitCode == 0, generated.Error);
        Assert.Equal(5, generated.Json["ids"]!.AsArray().Count);
    }

    /// <summary>A selection bias that training moves is saved with the model, by a whole number of steps of the rate.</summary>
    [Fact]
    public void ABiasIsBalancedByAKeyOfTheConfig()
    {
        string text = OwnModel
            .Replace("\"estimate_choice\": true", "\"bias_update_rate\": 0.25", StringComparison.Ordinal)
            .Replace("\"type\": \"dcmoe\", \"top_p\": 0.6,", "\"type\": \"grouped_top_k\", \"top_k\": 2, \"scores\": \"sigmoid\", \"selection_bias\": true,", StringComparison.Ordinal)
            .Replace(", \"capacity\": { \"factor\": 0.5, \"tau\": 0.75 }", "", StringComparison.Ordinal);
        string config = _folder.Write("balanced.json", text), run = _folder["balanced"];
        Outcome trained = Tool.Run("train", "--data", _text, "--config", config, "--out", run, "--steps", "3");
        Assert.True(trained.ExitCode == 0, trained.Error);
        using IBackend backend = CpuBackend.Create(1);
        using LanguageModel model = LanguageModel.Load(run, backend);
        float[] bias = backend.ToFloats(model.Weights.Buffers.Single());
        Assert.Contains(bias, static b => b != 0);
        Assert.All(bias, static b => Assert.Contains(MathF.Abs(b), new[] { 0, 0.25f, 0.5f, 0.75f }));

        config = _folder.Write("none.json", OwnModel.Replace("\"estimate_choice\": true", "\"bias_update_rate\": 0.25", StringComparison.Ordinal));
        Tool.Run("train", "--data", _text, "--config", config, "--out", _folder["none"]).RequireError("selection bias");
    }

    [Theory]
    [InlineData("\"copy\"", "\"kopie\"", "type must be ffn or zero or copy", "not \"kopie\"")]
    [InlineData("\"hidden_size\": 16", "\"hidden_size\": 16, \"vocab_size\": 9", "vocab_size is the tokenizer's")]
    [InlineData("\"hidden_size\": 16,", "", "hidden_size")]
    [InlineData("\"context\": 16", "\"context\": 16, \"router_z\": 1", "unknown key 'router_z'")]
    public void AModelsDescriptionIsReadStrictly(string part, string instead, params string[] parts)
    {
        string config = _folder.Write("bad.json", OwnModel.Replace(part, instead, StringComparison.Ordinal));
        Tool.Run("train", "--data", _text, "--config", config, "--out", _folder["none"]).RequireError(["bad.json", .. parts]);
    }

    private const string OwnModel = """
        { "context": 16, "batch_size": 2, "steps": 240, "learning_rate": 0.01, "estimate_choice": true,
          "model": {
            "hidden_size": 16, "attention": { "heads": 2, "kv_heads": 1, "head_dim": 8 },
            "layers": [
              { "type": "moe", "banks": [{ "type": "ffn", "count": 3, "intermediate_size": 16 }, { "type": "copy", "count": 1 }, { "type": "zero", "count": 1 }],
                "router": { "type": "dcmoe", "top_p": 0.6, "gate": { "residual": true }, "capacity": { "factor": 0.5, "tau": 0.75 } } },
              { "type": "dense", "intermediate_size": 32 }
            ],
            "router_losses": [{ "type": "heterogeneous_balance", "coefficient": 0.01, "tau": 0.75 }]
          } }
        """;

    [Theory]
    [InlineData("\"layers\": 2", "\"layers\": 2, \"colour\": 1", "unknown key 'colour'")]
    [InlineData("\"layers\": 2", "\"layers\": 2, \"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg\": 1", "unknown key 'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff…'; there are")]
    [InlineData("\"layers\": 2,", "", "layers is missing")]
    [InlineData("\"layers\": 2", "\"layers\": \"two\"", "layers must be an integer")]
    [InlineData("\"top_p\": 0.4", "\"top_p\": 0.4, \"top_k\": 2", "exactly one of top_p and top_k")]
    [InlineData("\"heads\": 2", "\"heads\": 3", "hidden_size 16 must be a multiple")]
    [InlineData("{", "", "not valid JSON")]
    public void AConfigIsReadStrictly(string part, string instead, string message)
    {
        string config = _folder.Write("bad.json", Config.Replace(part, instead, StringComparison.Ordinal));
        Tool.Run("train", "--data", _text, "--config", config, "--out", _folder["none"]).RequireError("bad.json", message);
        Assert.False(Directory.Exists(_folder["none"]));
    }

    /// <summary>The rate of a step does not depend on the last one, so that a run may be resumed with another number of steps.</summary>
    private string[] Train(string output, int steps, params string[] more) =>
    [
        "train", "--data", _text, "--config", _config, "--out", output, "--steps", steps.ToString(CultureInfo.InvariantCulture), "--lr-scheduler-type", "constant_with_warmup", "--warmup-steps", "5",
        "--save-every", SaveEvery.ToString(CultureInfo.InvariantCulture), .. more,
    ];

    private string[] Endless(string output, params string[] more) => Train(output, 1_000_000, more);

    /// <summary>Starts the tool; what it says on standard error is read, so that it never waits for that.</summary>
    private static Process Start(string[] args)
    {
        Process process = Tool.Start(args);
        process.ErrorDataReceived += static (_, _) => { };
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>The folder, if it has weights yet, and every checkpoint in it; no more of them than asked for plus the one being replaced.</summary>
    private static void RequireAllLoad(string run)
    {
        if (!Directory.Exists(run))
            return;
        using IBackend backend = CpuBackend.Create(1);
        string[] checkpoints = Directory.GetDirectories(run, "checkpoint-*");
        Assert.InRange(checkpoints.Length, 0, 3);
        foreach (string folder in checkpoints.Append(run))
            if (folder != run || File.Exists(Path.Combine(run, "model.safetensors")))
                using (LanguageModel model = LanguageModel.Load(folder, backend))
                    Assert.NotNull(model.Tokenizer);
    }

    /// <summary>The bytes of weights and state, and every number of the log but the clock's.</summary>
    private static void RequireEqualRuns(string expected, string actual, int steps)
    {
        string[] checkpoints = [$"checkpoint-{(steps - 1) / SaveEvery * SaveEvery:D6}", $"checkpoint-{steps:D6}"];
        foreach (string file in checkpoints.Select(static c => $"{c}/state.safetensors").Append("model.safetensors"))
            Assert.True(File.ReadAllBytes(Path.Combine(expected, file)).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(actual, file))), file);
        Assert.Equal(checkpoints, Directory.GetDirectories(actual).Select(static d => Path.GetFileName(d)).Order(StringComparer.Ordinal));
        List<JsonObject> wanted = Log(expected), got = Log(actual);
        Assert.Equal(steps, wanted.Count);
        Assert.Equal(wanted.Select(Text), got.Select(Text));

        static string Text(JsonObject line)
        {
            Assert.True((double)line["tokens_per_second"]! > 0);
            line.Remove("tokens_per_second");
            return line.ToJsonString();
        }
    }

    private static List<JsonObject> Log(string run) =>
        [.. File.ReadLines(Path.Combine(run, "train.jsonl")).Select(static line => JsonNode.Parse(line)!.AsObject())];

    /// <summary>Whole lines of a run's log, which it may be writing.</summary>
    private static int StepsLogged(string run)
    {
        string log = Path.Combine(run, "train.jsonl");
        if (!File.Exists(log))
            return 0;
        using StreamReader reader = new(new FileStream(log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
        return reader.ReadToEnd().Count(static c => c == '\n');
    }

    private static void Wait(Process process, Func<bool> condition)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            Assert.False(process.HasExited, "the run ended by itself");
            Assert.True(Stopwatch.GetElapsedTime(start) < Tool.Limit, $"waited {Tool.Limit} in vain");
            Thread.Sleep(1);
        }
    }
}
