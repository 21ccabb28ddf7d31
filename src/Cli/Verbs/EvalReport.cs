using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Evaluation;

namespace MoeFromScratch.Cli.Verbs;

/// <summary>What <c>moe eval</c> prints: a table row as soon as there is one, or JSON at the end; and on a terminal how far it is.</summary>
internal sealed class EvalReport(bool isSweep, bool prints)
{
    /// <summary>Those that tables show; JSON has all.</summary>
    private static readonly TaskMetric[] Shown = [TaskMetric.Acc, TaskMetric.AccPerToken, TaskMetric.AccPerChar, TaskMetric.AccUncond];

    private readonly JsonObject _all = [];
    private readonly List<(string Setting, JsonArray Texts, JsonArray Tasks)> _points = [];
    private readonly bool _terminal = !Console.IsErrorRedirected;
    private bool? _inTasks;

    /// <summary>Whether there is anything that an error must not take away.</summary>
    public bool HasResults => _points.Count > 0;

    public void Begin(string folder, LanguageModel model)
    {
        _all["model"] = folder;
        _all["family"] = model.Family.Name;
        _all["parameters_total"] = model.Weights.Count;
        if (prints)
            Console.WriteLine($"{folder}: {model.Family.Name}, {model.Weights.Count:n0} parameters");
    }

    /// <summary>For the share that is done.</summary>
    public Action<double> Progress(string setting, string name) => share =>
    {
        if (_terminal)
            Console.Error.Write($"\r{ProgressLine.Bar(share)} {(isSweep ? setting + "  " : "")}{name}\e[K");
    };

    public void Add(string setting, string name, PerplexityResult r)
    {
        JsonObject json = new()
        {
            ["name"] = name,
            ["partial"] = r.IsPartial,
            ["tokens"] = r.Tokens,
            ["bytes"] = Math.Round(r.Bytes),
            ["nats_per_token"] = Number(r.NatsPerToken),
            ["perplexity"] = Number(r.Perplexity),
            ["bits_per_byte"] = Number(r.BitsPerByte),
        };
        Add(json, r.Cost);
        Point(setting).Texts.Add((JsonNode)json);
        Row(tasks: false, setting, name, r.IsPartial, Invariant($"{r.Tokens,10:n0}{r.NatsPerToken,11:f4} {r.Perplexity,11:f3}{r.BitsPerByte,10:f4}"), r.Cost);
    }

    public void Add(string setting, TaskResult r)
    {
        JsonObject json = new()
        {
            ["name"] = r.Name,
            ["partial"] = r.IsPartial,
            ["documents"] = r.Documents,
            ["skipped_too_long"] = r.Skipped,
            ["truncated"] = r.Truncated,
            ["chance"] = r.Chance,
            ["primary_metric"] = NameOf(r.Primary),
        };
        foreach (Accuracy a in r.Accuracies)
        {
            json[NameOf(a.Metric)] = a.Value;
            json[$"{NameOf(a.Metric)}_stderr"] = a.StandardError;
        }
        Add(json, r.Cost);
        Point(setting).Tasks.Add((JsonNode)json);
        Row(tasks: true, setting, r.Name, r.IsPartial, Invariant($"{r.Documents,6:n0}{Share(r.Chance),8}")
            + string.Concat(Shown.Select(m => $"{Value(r, m),15}")), r.Cost);
        if (prints && r.Skipped + r.Truncated > 0)
            Console.WriteLine(Invariant($"    longer than the model's context: an answer of {r.Skipped:n0}, left out; the context of {r.Truncated:n0}, which lost its beginning"));
    }

    /// <param name="file">Where the JSON goes; null for standard output, if it goes anywhere.</param>
    public void End(bool partial, string? file)
    {
        ClearLine();
        _all["partial"] = partial;
        if (isSweep)
            _all["sweep"] = new JsonArray([.. _points.Select(static p => (JsonNode)new JsonObject { ["setting"] = p.Setting, ["texts"] = p.Texts, ["tasks"] = p.Tasks })]);
        else
        {
            _all["texts"] = _points.Count > 0 ? _points[0].Texts : [];
            _all["tasks"] = _points.Count > 0 ? _points[0].Tasks : [];
        }
        if (file is not null)
            Common.WriteJson(file, _all);
        else if (!prints)
            Common.PrintJson(_all);
        if (partial && prints)
            Console.WriteLine("stopped: partial results");
    }

    private (string Setting, JsonArray Texts, JsonArray Tasks) Point(string setting)
    {
        if (_points.Count == 0 || _points[^1].Setting != setting)
            _points.Add((setting, [], []));
        return _points[^1];
    }

    private void Row(bool tasks, string setting, string name, bool partial, string figures, EvaluationCost cost)
    {
        ClearLine();
        if (!prints)
            return;
        const string Costs = "   experts        active   tokens/s  experts by layer";
        if (_inTasks != tasks)
        {
            Console.WriteLine();
            Console.WriteLine($"{(isSweep ? $"{"",-20}" : "")}{(tasks ? "task" : "text"),-40}" + (tasks
                ? $"{"n",6}{"chance",8}{string.Concat(Shown.Select(static m => $"{NameOf(m),15}"))}" : $"{"tokens",10}{"nats/token",11}{"perplexity",12}{"bits/byte",10}") + Costs);
        }
        _inTasks = tasks;
        string experts = cost.ExpertsPerToken is { } mean ? Invariant($"{mean:f2}") : "dense";
        Console.WriteLine(Invariant($"{(isSweep ? $"{setting,-20}" : "")}{(partial ? $"{name} (partial)" : name),-40}{figures}{experts,10}{cost.ActiveParameters,14:n0}{cost.TokensPerSecond,11:n0}  ")
            + string.Join(' ', cost.ExpertsByLayer.Select(static e => Invariant($"{e:f2}"))));
    }

    private void ClearLine()
    {
        if (_terminal)
            Console.Error.Write("\r\e[K");
    }

    private static void Add(JsonObject json, EvaluationCost cost)
    {
        json["experts_per_token"] = cost.ExpertsPerToken;
        json["experts_by_layer"] = new JsonArray([.. cost.ExpertsByLayer.Select(static e => (JsonNode)e)]);
        json["parameters_active"] = cost.ActiveParameters;
        json["tokens_computed"] = cost.Tokens;
        json["tokens_per_second"] = Math.Round(cost.TokensPerSecond, 1);
    }

    private static string Value(TaskResult r, TaskMetric metric) => r.Accuracies.FirstOrDefault(a => a.Metric == metric) is not { } a ? ""
        : Share(a.Value) + (a.StandardError is { } e ? Invariant($" ±{100 * e,4:f1}") : "") + (metric == r.Primary ? "*" : " ");

    private static string Share(double share) => Invariant($"{100 * share:f1}");

    private static string NameOf(TaskMetric metric) => JsonNamingPolicy.SnakeCaseLower.ConvertName(metric.ToString());

    /// <summary>JSON has no numbers for "NaN" and "Infinity".</summary>
    private static JsonNode? Number(double value) => double.IsFinite(value) ? value : null;

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
