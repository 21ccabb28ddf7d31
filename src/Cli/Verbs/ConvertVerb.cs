using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Model.Conversion;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe convert</c>: a checkpoint in another format or another element type.</summary>
internal static class ConvertVerb
{
    private static IReadOnlyList<DType> Types => TensorConversion.Targets;

    public static Command Command()
    {
        Argument<string> source = new("SOURCE") { Description = "Checkpoint folder, or a .gguf file." };
        Argument<string> output = new("OUT") { Description = "Folder for config.json and safetensors, or a file whose name ends in .gguf." };
        Option<string?> to = new("--to")
        {
            Description = $"Element type of the result's matrices: {string.Join(", ", Types)}; the last two in .gguf files only. The source's when it is not given.",
            HelpName = "TYPE",
        };
        Option<bool> noTokenizer = new("--no-tokenizer") { Description = "Leave the tokenizer out." };
        Option<bool> overwrite = new("--overwrite") { Description = "Replace the model at OUT." };
        Option<bool> json = Common.Json("the report");
        Option<string> device = Common.Device();
        Option<int> threads = Common.Threads();
        Command command = new("convert", "Write a checkpoint in another format or element type, and compare the two.")
        {
            source, output, to, noTokenizer, overwrite, device, threads, json,
        };
        command.SetAction(r =>
        {
            ConversionOptions options = new()
            {
                To = r.GetValue(to) is { } name ? Parse(name) : null,
                Tokenizer = !r.GetValue(noTokenizer),
                Overwrite = r.GetValue(overwrite),
            };
            using IBackend backend = Common.Backend(r.GetValue(device)!, r.GetValue(threads));
            return Run(r.GetValue(source)!, r.GetValue(output)!, options, backend, r.GetValue(json));
        });
        return command;
    }

    private static DType Parse(string name)
    {
        foreach (DType type in Types)
            if (type.ToString().Equals(name, StringComparison.OrdinalIgnoreCase))
                return type;
        throw new ArgumentException($"--to takes {string.Join(", ", Types)}, not '{name}'");
    }

    private static int Run(string source, string output, ConversionOptions options, IBackend backend, bool json)
    {
        using StopSignal stop = new();
        try
        {
            bool terminal = !Console.IsErrorRedirected;
            ConversionReport report = Converter.Convert(source, output, options, backend, (done, all) =>
            {
                if (terminal)
                    Console.Error.Write($"\r{done}/{all} tensors{(done == all ? "\n" : "\e[K")}");
            }, stop.Token);
            if (json)
                Common.PrintJson(Json(output, report));
            else
                Print(output, report);
            if (report.Missing.Count == 0)
                return Program.Success;
            Console.Error.WriteLine($"moe: {report.Missing.Count} of {report.Tensors} tensors were not written, and nothing is at {output}: {string.Join(", ", report.Missing)}");
            return Program.Failure;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("moe: stopped; nothing was written");
            return Program.Interrupted;
        }
    }

    private static void Print(string output, ConversionReport report)
    {
        foreach (string note in report.Notes)
            Console.Error.WriteLine(note);
        if (report.Sample is not { } sample)
            return;
        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"all {report.Tensors} tensors are in {output}, {report.Bytes:n0} bytes"));
        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"on {sample.Tokens} tokens logits differ by at most {sample.MaxDifference:g3} (the largest is {sample.LargestLogit:g3}); "
            + $"the next {sample.Before.Count} greedy ids {(sample.SameGreedy ? "agree" : "differ")}"));
    }

    private static JsonObject Json(string output, ConversionReport report) => new()
    {
        ["out"] = output,
        ["tensors"] = report.Tensors,
        ["missing"] = new JsonArray([.. report.Missing.Select(static m => (JsonNode)m)]),
        ["notes"] = new JsonArray([.. report.Notes.Select(static n => (JsonNode)n)]),
        ["bytes"] = report.Bytes,
        ["sample"] = report.Sample is not { } sample ? null : new JsonObject
        {
            ["tokens"] = sample.Tokens,
            ["max_difference"] = float.IsFinite(sample.MaxDifference) ? sample.MaxDifference : null,
            ["largest_logit"] = float.IsFinite(sample.LargestLogit) ? sample.LargestLogit : null,
            ["greedy_agree"] = sample.SameGreedy,
            ["greedy_before"] = new JsonArray([.. sample.Before.Select(static id => (JsonNode)id)]),
            ["greedy_after"] = new JsonArray([.. sample.After.Select(static id => (JsonNode)id)]),
        },
    };
}
