using System.CommandLine;
using System.Text;
using MoeFromScratch.Cli.Training;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Conversion;
using MoeFromScratch.Model.Evaluation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe eval</c>: perplexity on texts and accuracy on tasks, and what they cost.</summary>
internal static class EvalVerb
{
    private const string StandardOutput = "-";

    private sealed record Settings(string Folder, string[] Texts, string[] Tasks, string? Preset, bool Validation, int Window, int Stride, int Limit, int BatchTokens,
        int? Task, RoutingOptions Routing, string? Sweep, string? Json);

    /// <summary>Something to evaluate, by the name that tables give it.</summary>
    private sealed record Text(string Name, int[] Tokens, long Bytes);

    public static Command Command()
    {
        Option<string?> model = new("--model", "-m") { Description = "Checkpoint folder; the model that comes with the tool when it is not given.", HelpName = "CHECKPOINT" };
        Option<string[]> texts = new("--text") { Description = "Texts, UTF-8: their perplexity.", AllowMultipleArgumentsPerToken = true, HelpName = "FILE", DefaultValueFactory = static _ => [] };
        Option<string[]> tasks = new("--tasks")
        {
            Description = "Tasks: .jsonl or .jsonl.gz files with a context, continuations and a label in each line, or with OLMo's requests; BIG-Bench Hard's .json files; or folders of such.",
            AllowMultipleArgumentsPerToken = true,
            HelpName = "PATH",
            DefaultValueFactory = static _ => [],
        };
        Option<string?> preset = new("--preset") { Description = "The text that a preset of 'moe train' brings along, like built-in.", HelpName = "NAME" };
        Option<bool> validation = new("--validation") { Description = "Of texts, only the last tenth: what 'moe train' keeps for validation." };
        Option<int?> window = new("--window") { Description = "Tokens that a text is read in at a time; the model's context unless said.", HelpName = "W" };
        Option<int?> stride = new("--stride") { Description = "Tokens from one window to the next, each new one with at least W − S + 1 before it; W unless said.", HelpName = "S" };
        Option<int?> limit = new("--limit") { Description = "Only the first so many questions of each task, and windows of each text.", HelpName = "N" };
        Option<int?> batch = new("--batch-tokens") { Description = "Tokens of a pass; 4096, or fewer where the vocabulary is large, unless said.", HelpName = "N" };
        Option<int?> task = new("--task") { Description = "The task, counted from 0, for a model that routes by it.", HelpName = "N" };
        RouterOptions router = new();
        Option<string?> sweep = new("--sweep")
        {
            Description = "Evaluate with one routing after another: router-top-p=0.1..0.9, with a step router-top-p=0.1..0.9:0.2, router-top-k=1..4 or max-experts=1..8.",
            HelpName = "WHAT=FROM..TO",
        };
        Option<string?> json = new("--json") { Description = "Write the results as JSON into a file, or with - or nothing as the one thing on standard output.", Arity = ArgumentArity.ZeroOrOne, HelpName = "FILE" };
        Option<string> device = Common.Device();
        Option<int> threads = Common.Threads();
        Command command = new("eval", "Measure a model: perplexity on texts, accuracy on tasks, and the experts they take.")
        {
            model, texts, tasks, preset, validation, window, stride, limit, batch, task, sweep, json, device, threads,
        };
        router.AddTo(command);
        command.SetAction(r =>
        {
            Settings settings = new(r.GetValue(model) ?? Common.BuiltInFolder(), r.GetValue(texts)!, r.GetValue(tasks)!, r.GetValue(preset), r.GetValue(validation),
                AtLeastOne(r.GetValue(window), "--window"), AtLeastOne(r.GetValue(stride), "--stride"), AtLeastOne(r.GetValue(limit), "--limit"),
                AtLeastOne(r.GetValue(batch), "--batch-tokens"), r.GetValue(task), router.Read(r), r.GetValue(sweep),
                r.GetResult(json) is null ? null : r.GetValue(json) ?? StandardOutput);
            RequireSense(settings);
            using IBackend backend = Common.Backend(r.GetValue(device)!, r.GetValue(threads));
            return Run(settings, backend);
        });
        return command;
    }

    /// <summary>0 where the option is not given.</summary>
    private static int AtLeastOne(int? value, string option) => value is null or > 0 ? value ?? 0 : throw new ArgumentException($"{option} must be at least 1, not {value}");

    private static void RequireSense(Settings s)
    {
        bool reads = s.Texts.Length > 0 || s.Preset is not null;
        if (!reads && s.Tasks.Length == 0)
            throw new ArgumentException("there is nothing to evaluate: name texts with --text, tasks with --tasks, or a preset with --preset");
        if (!reads && (s.Window > 0 || s.Stride > 0 || s.Validation))
            throw new ArgumentException("--window, --stride and --validation are for texts: name one with --text or --preset");
        if (s.Json is null or StandardOutput)
            return;
        Common.RequireWritable("--json", s.Json);
        string place = RealPath.Of(s.Json), model = RealPath.Of(s.Folder);
        if (place == model || (Path.GetDirectoryName(place) == model && Converter.IsPart(Path.GetFileName(place))))
            throw new ArgumentException($"--json {s.Json} is a file of the model, or would be taken for one: choose another");
        Common.RequireUnread("--json", s.Json, [.. s.Texts, .. s.Tasks]);
    }

    private static int Run(Settings s, IBackend backend)
    {
        IReadOnlyList<TaskSet> tasks = TaskFiles.Read(s.Tasks);
        IReadOnlyList<SweepPoint> points = s.Sweep is null ? [] : RoutingSweep.Parse(s.Sweep, s.Routing);
        using StopSignal stop = new();
        EvalReport report = new(isSweep: s.Sweep is not null, prints: s.Json != StandardOutput);
        try
        {
            Evaluate(s, backend, tasks, points, report, stop.Token);
        }
        catch when (report.HasResults)      // they took their time: the error follows them
        {
            End(partial: true);
            throw;
        }
        End(stop.Token.IsCancellationRequested);
        return stop.Token.IsCancellationRequested ? Program.Interrupted : Program.Success;

        void End(bool partial) => report.End(partial, s.Json is StandardOutput ? null : s.Json);
    }

    private static void Evaluate(Settings s, IBackend backend, IReadOnlyList<TaskSet> tasks, IReadOnlyList<SweepPoint> points, EvalReport report, CancellationToken stop)
    {
        IReadOnlyList<Text> texts;
        using (LanguageModel model = LanguageModel.Load(s.Folder, backend, routing: s.Sweep is null ? s.Routing : null))
        {
            RoutingSweep.Check(model.Config, points);
            Tokenizer tokenizer = model.Tokenizer ?? throw new ArgumentException($"{s.Folder} has no tokenizer ({TokenizerSource.Kinds}), without which there are no tokens to evaluate");
            texts = Texts(s, tokenizer);
            report.Begin(s.Folder, model);
            if (s.Sweep is null)
                Evaluate(s, "", model, tasks, texts, report, stop);
        }
        foreach (SweepPoint point in points)
        {
            if (stop.IsCancellationRequested)
                break;
            using LanguageModel model = LanguageModel.Load(s.Folder, backend, routing: point.Routing);
            Evaluate(s, point.Setting, model, tasks, texts, report, stop);
        }
    }

    private static void Evaluate(Settings s, string setting, LanguageModel model, IReadOnlyList<TaskSet> tasks, IReadOnlyList<Text> texts, EvalReport report, CancellationToken stop)
    {
        using Scorer scorer = new(model, s.BatchTokens, s.Task);
        foreach (Text text in texts)
            if (!stop.IsCancellationRequested)
                report.Add(setting, text.Name, Perplexity.Of(scorer, text.Tokens, text.Bytes, s.Window, s.Stride, s.Limit, report.Progress(setting, text.Name), stop));
        foreach (TaskSet task in tasks)
            if (!stop.IsCancellationRequested)
                report.Add(setting, TaskEvaluation.Run(scorer, task, s.Limit, report.Progress(setting, task.Name), stop));
    }

    private static IReadOnlyList<Text> Texts(Settings s, Tokenizer tokenizer)
    {
        string separator = tokenizer.IdOf(TokenizerChoice.EndOfText) is null ? "\n" : TokenizerChoice.EndOfText;
        List<(string Name, string Content)> texts = [.. s.Texts.Select(file => (Path.GetFileName(file), TrainingText.ReadOne(file, "--text")))];
        if (s.Preset is { } name)
        {
            Preset preset = Preset.All.FirstOrDefault(p => p.Name == name) ?? throw new ArgumentException($"there is no preset '{name}'; there is {string.Join(", ", Preset.All.Select(static p => p.Name))}");
            texts.Add((name, preset.Text?.Invoke(separator) ?? throw new ArgumentException($"the preset {name} has no text of its own: name one with --text")));
        }
        return [.. texts.Select(t => Encode(t.Name, t.Content, tokenizer, s.Validation))];
    }

    /// <summary>The text's tokens behind those that the tokenizer puts before a text; of the validation tenth as training has it, no such.</summary>
    private static Text Encode(string name, string text, Tokenizer tokenizer, bool validation)
    {
        int[] all = tokenizer.Encode(text, addSpecialTokens: false), tokens = validation ? TokenData.ValidationPart(all) : [.. tokenizer.Before, .. all];
        name = validation ? $"{name}, validation" : name;
        if (tokens.Length < 2)
            throw new ArgumentException($"{name}: fewer than two tokens have nothing to predict");
        return new Text(name, tokens, validation ? Bytes(tokens.AsSpan(1))
            : Encoding.UTF8.GetByteCount(text) - (tokenizer.Before.Count > 0 ? 0 : Bytes(tokens.AsSpan(0, 1))));

        long Bytes(ReadOnlySpan<int> ids) => Encoding.UTF8.GetByteCount(tokenizer.Decode(ids));
    }
}
