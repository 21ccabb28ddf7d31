using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Tests;

/// <summary>Training that ends in the middle, in every way a process can end, and goes on.</summary>
public sealed class ResumeTests : IDisposable
{
    private const int Steps = 240, SaveEvery = 3;

    private const string Config = """
        { "layers": 2, "hidden_size": 16, "heads": 2, "experts": 4, "intermediate_size": 16, "top_p": 0.4,
          "context": 16, "batch_size": 2, "steps": 240, "learning_rate": 0.01, "warmup_steps": 5,
          "load_balance": 0.01, "router_entropy": 0.0001 }
        """;

    private readonly Folder _folder = new();
    private readonly string _text, _config;

    public ResumeTests()
    {
        _text = _folder.Write("text.txt", string.Concat(Enumerable.Repeat("the cat sat on the mat.\n", 100)));
        _config = _folder.Write("tiny.json", Config);
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>Every third kill in the middle of a save, the others at random moments. The environment variable MOE_KILLS asks for more of them.</summary>
    [Fact]
    public void KilledAtAnyMomentItEndsAsIfItHadNot()
    {
        int kills = int.Parse(Environment.GetEnvironmentVariable("MOE_KILLS") ?? "6", CultureInfo.InvariantCulture), landed = 0;
        string whole = _folder["whole"], broken = _folder["broken"];
        Assert.Equal(0, Tool.Run(Train(whole)).ExitCode);
        Random random = new(1);
        for (int i = 0; i < kills; i++)
        {
            using Process process = Tool.Start(Train(broken, "--resume"));
            Task<string> error = process.StandardError.ReadToEndAsync();
            if (i % 3 == 0)
                Wait(() => process.HasExited || Directory.Exists(Path.Combine(broken, ".saving")));     // in the middle of a save
            else
                Wait(() => process.HasExited || File.Exists(Path.Combine(broken, "train.jsonl")), milliseconds: random.Next(100, 1200));
            if (!process.HasExited)
                landed++;
            process.Kill();
            process.WaitForExit();
            RequireAllLoad(broken);
            if (File.Exists(Path.Combine(broken, "checkpoint-000240", "model.safetensors")))
                Directory.Delete(broken, recursive: true);      // it was faster than the kills: more of them from the start
        }
        Assert.True(landed > kills / 2, $"only {landed} of {kills} kills met a running process");
        Outcome end = Tool.Run(Train(broken, "--resume"));
        Assert.True(end.ExitCode == 0, end.Error);
        RequireEqualRuns(whole, broken);
    }

    [SkippableFact]
    public void StoppedByCtrlCItEndsAsIfItHadNot()
    {
        Skip.If(OperatingSystem.IsWindows(), "sends SIGINT with kill");
        string whole = _folder["whole"], stopped = _folder["stopped"];
        Assert.Equal(0, Tool.Run(Train(whole)).ExitCode);
        using (Process process = Tool.Start(Train(stopped)))
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
            Wait(() => Directory.Exists(Path.Combine(stopped, "checkpoint-000003")));
            using (Process kill = Process.Start("kill", ["-INT", process.Id.ToString(CultureInfo.InvariantCulture)]))
                kill.WaitForExit();
            Tool.RequireExit(process);
            Assert.Equal(Program.Interrupted, process.ExitCode);
            Assert.Contains("--resume continues", output.Result, StringComparison.Ordinal);
        }
        RequireAllLoad(stopped);
        Assert.InRange(Log(stopped).Count, 3, Steps - 1);
        Assert.Equal(0, Tool.Run(Train(stopped, "--resume", "--threads", "1")).ExitCode);
        RequireEqualRuns(whole, stopped);
        Outcome again = Tool.Run(Train(stopped, "--resume", "--json"));
        Assert.Equal(Steps, (int)again.Json["steps"]!);
        Assert.Equal((float)Log(whole)[^1]["validation_loss"]!, (float)again.Json["validation_loss"]!);
    }

    [Fact]
    public void TwoRunsDoNotShareAFolder()
    {
        string run = _folder["shared"];
        using Process process = Tool.Start(Train(run, "--steps", "1000000"));
        Task<string> error = process.StandardError.ReadToEndAsync();
        Wait(() => Directory.Exists(Path.Combine(run, "checkpoint-000003")));
        Tool.Run(Train(run, "--overwrite")).RequireError("another run is writing into", run);
        Tool.Run(Train(run, "--resume", "--steps", "1000000")).RequireError("another run is writing into");
        Assert.False(process.HasExited);
        process.Kill();
        process.WaitForExit();
        Assert.Equal(0, Tool.Run(Train(run, "--overwrite", "--steps", "3")).ExitCode);      // a killed run keeps nobody out
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

    private string[] Train(string output, params string[] more) =>
        ["train", "--data", _text, "--config", _config, "--out", output, "--save-every", SaveEvery.ToString(CultureInfo.InvariantCulture), .. more];

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
    private static void RequireEqualRuns(string expected, string actual)
    {
        foreach (string file in new[] { "model.safetensors", "checkpoint-000240/state.safetensors", "checkpoint-000237/state.safetensors" })
            Assert.True(File.ReadAllBytes(Path.Combine(expected, file)).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(actual, file))), file);
        Assert.Equal(["checkpoint-000237", "checkpoint-000240"], Directory.GetDirectories(actual).Select(static d => Path.GetFileName(d)).Order(StringComparer.Ordinal));
        List<JsonObject> wanted = Log(expected), got = Log(actual);
        Assert.Equal(Steps, wanted.Count);
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

    private static void Wait(Func<bool> condition, int milliseconds = 0)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
            Assert.True(Stopwatch.GetElapsedTime(start) < Tool.Limit, $"waited {Tool.Limit} in vain");
        Thread.Sleep(milliseconds);
    }
}
