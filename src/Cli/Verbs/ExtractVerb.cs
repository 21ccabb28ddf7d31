using System.CommandLine;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe extract</c>: the part of a model that one task uses.</summary>
internal static class ExtractVerb
{
    public static Command Command()
    {
        Argument<string> checkpoint = Common.Checkpoint();
        Option<int> task = new("--task") { Description = "The task, counted from 0.", Required = true, HelpName = "N" };
        Option<string> output = new("--out") { Description = "Folder for the part.", Required = true, HelpName = "DIR" };
        Option<bool> overwrite = new("--overwrite") { Description = "Replace the model in --out." };
        Option<bool> json = Common.Json("a summary");
        Command command = new("extract", "Take the part that one task uses out of a model that routes by task.") { checkpoint, task, output, overwrite, json };
        command.SetAction(r =>
        {
            string folder = r.GetValue(output)!;
            using StopSignal stop = new();
            using ModelFolder target = new(folder, r.GetValue(checkpoint)!, r.GetValue(overwrite));
            using IBackend backend = Common.Backend("cpu", threads: 0);
            using LanguageModel whole = LanguageModel.Load(r.GetValue(checkpoint)!, backend), part = Subnetwork.OfTask(whole, r.GetValue(task));
            target.Begin();
            part.Save(target.Unfinished);
            if (stop.Token.IsCancellationRequested)
            {
                Console.Error.WriteLine($"moe: stopped; {folder} is as it was");
                return Program.Interrupted;
            }
            target.Finish();
            if (r.GetValue(json))
                Common.PrintJson(new JsonObject { ["out"] = folder, ["parameters"] = part.Weights.Count, ["parameters_of_the_whole"] = whole.Weights.Count });
            else
                Console.Error.WriteLine($"{part.Weights.Count:n0} of {whole.Weights.Count:n0} parameters are in {folder}");
            return Program.Success;
        });
        return command;
    }
}
