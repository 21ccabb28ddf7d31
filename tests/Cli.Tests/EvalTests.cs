using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training.Corpus;

namespace MoeFromScratch.Cli.Tests;

public sealed class EvalTests : IDisposable
{
    private readonly Folder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Sums that the built-in model never saw: it knows nine of ten, and of a wrong label it takes none.</summary>
    [Fact]
    public void TheBuiltInModelKnowsItsSums()
    {
        string lines = string.Join('\n', Enumerable.Range(0, 30).Select(static i =>
        {
            Exercise sum = PracticeCorpus.HeldOut(ExerciseKind.Addition, 77, i);
            int right = int.Parse(sum.Answer, CultureInfo.InvariantCulture);
            return $$"""{"context": "{{sum.Prompt}}", "continuations": ["{{right - 1}}", "{{right}}", "{{right + 1}}", "{{right + 10}}"], "label": 1}""";
        }));
        string task = _folder.Write("sums.jsonl", lines), swapped = _folder.Write("wrong.jsonl", lines.Replace("\"label\": 1", "\"label\": 3", StringComparison.Ordinal));
        Outcome run = Tool.Run("eval", "--tasks", task, swapped, "--json");
        Assert.True(run.ExitCode == 0, run.Error);
        JsonNode sums = run.Json["tasks"]![0]!, wrong = run.Json["tasks"]![1]!;
        Assert.Equal(("sums", 30, 0.25), ((string)sums["name"]!, (int)sums["documents"]!, (double)sums["chance"]!));
        Assert.InRange((double)sums["acc"]!, 0.8, 1);
        Assert.InRange((double)wrong["acc"]!, 0, 0.1);
        Assert.InRange((double)sums["experts_per_token"]!, 1.3, 2);
        Assert.Equal(4, sums["experts_by_layer"]!.AsArray().Count);
        Assert.False((bool)run.Json["partial"]!);
        Assert.Null(sums["acc_uncond"]);
    }

    [Fact]
    public void ASweepIsACurveInATableAndAFile()
    {
        string text = _folder.Write("text.txt", PracticeCorpus.Write(60, 99, "<|endoftext|>")), json = _folder["curve.json"];
        Outcome run = Tool.Run("eval", "--text", text, "--window", "64", "--sweep", "router-top-p=0.2..0.8:0.3", "--json", json);
        Assert.True(run.ExitCode == 0, run.Error);
        JsonArray points = JsonNode.Parse(File.ReadAllText(json))!["sweep"]!.AsArray();
        Assert.Equal(["router-top-p=0.2", "router-top-p=0.5", "router-top-p=0.8"], points.Select(static p => (string)p!["setting"]!));
        double[] experts = [.. points.Select(static p => (double)p!["texts"]![0]!["experts_per_token"]!)], nats = [.. points.Select(static p => (double)p!["texts"]![0]!["nats_per_token"]!)];
        Assert.True(experts[0] < experts[1] && experts[1] < experts[2], string.Join(' ', experts));
        Assert.All(nats, static n => Assert.InRange(n, 0.5, 1.5));
        Assert.Equal(3, run.Output.Split('\n').Count(static l => l.StartsWith("router-top-p=", StringComparison.Ordinal)));
        Assert.Equal(["curve.json", "text.txt"], Directory.GetFiles(_folder.Path).Select(static f => Path.GetFileName(f)).Order(StringComparer.Ordinal));
    }

    /// <summary>Bits per byte do not know tokens: Σ nats / (ln 2 · bytes), with the begin token that the tokenizer puts before.</summary>
    [Fact]
    public void FiguresOfATextFitTogether()
    {
        const string Text = "Once upon a time there was a cat. naïve 東京";
        string file = _folder.Write("text.txt", Text);
        JsonNode text = Tool.Run("eval", "--text", file, "--json", "-").Json["texts"]![0]!;
        double nats = (double)text["nats_per_token"]!;
        int[] tokens = Tokenizer.Load(Path.Combine(AppContext.BaseDirectory, "built-in", "tokenizer.json")).Encode(Text, addSpecialTokens: false);
        Assert.Equal(tokens.Length, (int)text["tokens"]!);      // all of them: the begin token stands before the first
        Assert.Equal(System.Text.Encoding.UTF8.GetByteCount(Text), (int)text["bytes"]!);
        Assert.Equal(Math.Exp(nats), (double)text["perplexity"]!, 1e-6 * (double)text["perplexity"]!);
        Assert.Equal(nats * (int)text["tokens"]! / Math.Log(2) / (int)text["bytes"]!, (double)text["bits_per_byte"]!, 1e-9);
        Outcome table = Tool.Run("eval", "--text", file, "--router-top-k", "2");
        Assert.Contains("2.00 2.00 2.00 2.00", table.Output, StringComparison.Ordinal);
    }

    /// <summary>Also those of a tokenizer that puts nothing before a text: its first letter is not predicted.</summary>
    [Fact]
    public void WhatFailsLaterLeavesTheResults()
    {
        string text = _folder.Write("text.txt", string.Concat(Enumerable.Repeat("the cat sat on the mat; ", 400))), json = _folder["results.json"];
        Outcome train = Tool.Run("train", "--data", text, "--out", _folder["model"], "--steps", "1", "--batch-size", "1", "--tokenizer", "characters");
        Assert.True(train.ExitCode == 0, train.Error);
        string task = _folder.Write("unknown.jsonl", """{"context": "the", "continuations": [" 東"], "label": 0}""");
        Tool.Run("eval", "-m", _folder["model"], "--text", text, "--tasks", task, "--json", json).RequireError("unknown.jsonl, line 1");
        JsonNode results = JsonNode.Parse(File.ReadAllText(json))!;
        Assert.True((bool)results["partial"]!);
        Assert.Equal((int)results["texts"]![0]!["tokens"]!, (int)results["texts"]![0]!["bytes"]!);
        Assert.Empty(results["tasks"]!.AsArray());
    }

    [Fact]
    public void SpecialTokensComeBeforeAContext()
    {
        string task = _folder.Write("task.jsonl", """{"context": "a", "continuations": ["b"], "label": 0}""");
        Assert.Equal(2, (int)Tool.Run("eval", "--tasks", task, "--json").Json["tasks"]![0]!["tokens_computed"]!);
    }

    [SkippableFact]
    public void CtrlCGivesAPartialResult()
    {
        Skip.If(OperatingSystem.IsWindows(), "sends SIGINT with kill");
        string json = _folder["partial.json"];
        using Process process = Tool.Start("eval", "--preset", "built-in", "--window", "32", "--stride", "1", "--batch-tokens", "64", "--threads", "1", "--json", json);
        Task<string> error = process.StandardError.ReadToEndAsync();
        Assert.NotNull(process.StandardOutput.ReadLine());      // the model is loaded, the text is read, and there is an hour to go
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        using (Process kill = Process.Start("kill", ["-INT", process.Id.ToString(CultureInfo.InvariantCulture)]))
            kill.WaitForExit();
        Tool.RequireExit(process);
        Assert.Equal(Program.Interrupted, process.ExitCode);
        Assert.Contains("stopped: partial results", output.Result, StringComparison.Ordinal);
        Assert.True((bool)JsonNode.Parse(File.ReadAllText(json))!["partial"]!);
    }

    [Fact]
    public void WhatMakesNoSenseGetsOneLine()
    {
        string text = _folder.Write("text.txt", "the cat"), empty = _folder.Write("one.txt", "");
        Tool.Run("eval").RequireError("nothing to evaluate");
        Tool.Run("eval", "--text", text, "-m", Golden.Folder("mixtral")).RequireError("tokenizer.json");
        Tool.Run("eval", "--text", _folder["gone.txt"]).RequireError("gone.txt");
        Tool.Run("eval", "--text", _folder.Path).RequireError("is a folder", "--text");
        Tool.Run("eval", "--text", empty).RequireError("one.txt", "empty");
        Tool.Run("eval", "--text", text, "--validation").RequireError("text.txt, validation", "fewer than two tokens");
        Tool.Run("eval", "--text", text, "--window", "257").RequireError("context of 256", "257");
        Tool.Run("eval", "--text", text, "--window", "0").RequireError("--window", "0");
        Tool.Run("eval", "--text", text, "--stride", "9", "--window", "8").RequireError("stride", "9");
        Tool.Run("eval", "--text", text, "--limit", "-1").RequireError("--limit", "-1");
        Tool.Run("eval", "--text", text, "--batch-tokens", "many").RequireError("--batch-tokens", "many");
        Tool.Run("eval", "--text", text, "--task", "0").RequireError("does not route by task");
        Tool.Run("eval", "--text", text, "--sweep", "top-p=1..2").RequireError("no sweep of 'top-p'");
        Tool.Run("eval", "--text", text, "--router-top-k", "9").RequireError("moe: --router-top-k must lie between 1 and the number of experts 8, not be 9");
        Tool.Run("eval", "--text", text, "--sweep", "router-top-k=1..9").RequireError("router-top-k=9", "number of experts 8");
        Tool.Run("eval", "--text", text, "--router-top-p", "0").RequireError("--router-top-p must be above 0 and at most 1, not 0");
        Tool.Run("eval", "--text", text, "--json", _folder["no/such/file"]).RequireError("--json", "cannot be written");
        Tool.Run("eval", "--text", text, "--json", Path.Combine(text, "x.json")).RequireError("--json", "cannot be written");
        Tool.Run("eval", "--text", text, "--json", _folder.Path).RequireError("--json", "it is a folder");
        Tool.Run("eval", "--preset", "shakespeare-char").RequireError("shakespeare-char", "--text");
        Tool.Run("eval", "--preset", "other").RequireError("no preset 'other'", "built-in");
        Tool.Run("eval", "--tasks", _folder.Write("x.jsonl", "{}"), "--stride", "2").RequireError("--stride", "--text");
        Tool.Run("eval", "--tasks", _folder["x.jsonl"]).RequireError("x.jsonl, line 1: context is missing");
        Tool.Run("eval", "--tasks", _folder["y.jsonl"]).RequireError("y.jsonl", "no such file");
    }

    /// <summary>What is evaluated stays, whatever link leads there.</summary>
    [Fact]
    public void ResultsNeverReplaceWhatIsRead()
    {
        string text = _folder.Write("text.txt", "the cat"), folder = Directory.CreateDirectory(_folder["tasks"]).FullName, task = Path.Combine(folder, "x.jsonl");
        File.WriteAllText(task, """{"context": "a", "continuations": ["b"], "label": 0}""");
        File.CreateSymbolicLink(_folder["link"], text);
        Directory.CreateDirectory(_folder["model"]);
        foreach (string file in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "built-in")))
            File.Copy(file, Path.Combine(_folder["model"], Path.GetFileName(file)));
        Tool.Run("eval", "--text", text, "--json", text).RequireError("--json", "is", "text.txt, which is read");
        Tool.Run("eval", "--text", text, "--json", _folder["link"]).RequireError("--json", "text.txt, which is read");
        Tool.Run("eval", "--tasks", task, "--json", task).RequireError("--json", "x.jsonl, which is read");
        Tool.Run("eval", "--tasks", folder, "--json", Path.Combine(folder, "results.json")).RequireError("--json", "is in", "tasks, which is read");
        foreach (string file in new[] { "config.json", "tokenizer.json", "model.safetensors", "generation_config.json" })
            Tool.Run("eval", "-m", _folder["model"], "--text", text, "--json", Path.Combine(_folder["model"], file)).RequireError("--json", "is a file of the model, or would be taken for one");
        Assert.Equal("the cat", File.ReadAllText(text));
        Assert.Equal(3, Directory.GetFiles(_folder["model"]).Length);
        string own = Path.Combine(_folder["model"], "evaluation.json");
        Assert.Equal(0, Tool.Run("eval", "-m", _folder["model"], "--text", text, "--json", own).ExitCode);
        Assert.True(File.Exists(own));
    }

    /// <summary>A dense model has no router: what would change one is refused, in every verb.</summary>
    [Fact]
    public void ADenseModelRefusesRouterOptions()
    {
        foreach (string[] option in (string[][])[["--router-top-p", "0.5"], ["--router-top-k", "2"], ["--router-max-experts", "2"]])
            Tool.Run(["generate", "-m", Golden.Folder("dense-llama"), "--prompt-ids", "3", .. option]).RequireError("the model is dense");
        string text = _folder.Write("text.txt", "the cat");
        Tool.Run("eval", "-m", Golden.Folder("dense-llama"), "--text", text, "--sweep", "router-top-p=0.1..0.2").RequireError("the model is dense");
        Assert.Equal(0, Tool.Run("generate", "-m", Golden.Folder("dense-llama"), "--prompt-ids", "3", "--max-new-tokens", "2").ExitCode);
    }
}
