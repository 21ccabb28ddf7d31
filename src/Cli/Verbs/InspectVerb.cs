using System.CommandLine;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe inspect</c>: a checkpoint's configuration, parameters and memory.</summary>
internal static class InspectVerb
{
    /// <summary>Parameters and bytes of one class of tensors.</summary>
    private sealed record Share(string Name, int Tensors, long Parameters, long Bytes);

    public static Command Command()
    {
        Argument<string> checkpoint = Common.Checkpoint();
        Option<bool> json = Common.Json("the report");
        Command command = new("inspect", "Show a checkpoint's configuration, parameters and memory.") { checkpoint, json };
        command.SetAction(r =>
        {
            using IBackend backend = Common.Backend("cpu", threads: 1);
            using LanguageModel model = LanguageModel.Load(r.GetValue(checkpoint)!, backend);
            Report(model, r.GetValue(json));
            return Program.Success;
        });
        return command;
    }

    private static void Report(LanguageModel model, bool json)
    {
        ModelConfig c = model.Config;
        List<Share> shares = [.. model.Weights.All.GroupBy(static p => Class(p.Name!)).Select(static g =>
            new Share(g.Key, g.Count(), g.Sum(static p => p.Count), g.Sum(static p => p.Bytes)))];
        long total = model.Weights.Count, bytes = shares.Sum(static s => s.Bytes);
        (long least, long most) = Active(model, total);
        long cachePerToken = (long)c.Layers.Count * c.Attention.KvHeads * (c.Attention.HeadDim + c.Attention.ValueDim) * sizeof(float);
        long training = total * 4 * sizeof(float);   // value, gradient and two moments

        if (json)
        {
            Common.PrintJson(new JsonObject
            {
                ["family"] = model.Family.Name,
                ["layers"] = c.Layers.Count,
                ["moe_layers"] = c.Layers.Count(static l => l is MoeConfig),
                ["hidden_size"] = c.HiddenSize,
                ["heads"] = c.Attention.Heads,
                ["kv_heads"] = c.Attention.KvHeads,
                ["head_dim"] = c.Attention.HeadDim,
                ["vocab_size"] = c.VocabSize,
                ["context"] = c.MaxPositions,
                ["experts"] = c.Layers.OfType<MoeConfig>().FirstOrDefault()?.NumExperts,
                ["router"] = Router(c),
                ["parameters_total"] = total,
                ["parameters_active_min"] = least,
                ["parameters_active_max"] = most,
                ["weights_bytes"] = bytes,
                ["kv_cache_bytes_per_token"] = cachePerToken,
                ["training_bytes"] = training,
                ["classes"] = new JsonArray([.. shares.Select(static s => (JsonNode)new JsonObject
                {
                    ["name"] = s.Name,
                    ["tensors"] = s.Tensors,
                    ["parameters"] = s.Parameters,
                    ["bytes"] = s.Bytes,
                })]),
            });
            return;
        }
        Console.WriteLine($"family       {model.Family.Name}");
        Console.WriteLine($"layers       {c.Layers.Count}, {c.Layers.Count(static l => l is MoeConfig)} with experts; {c.HiddenSize} wide");
        Console.WriteLine($"attention    {c.Attention.Heads} heads of {c.Attention.HeadDim}, {c.Attention.KvHeads} for keys and values");
        Console.WriteLine($"experts      {c.Layers.OfType<MoeConfig>().FirstOrDefault()?.NumExperts ?? 0} per layer; {Router(c)}");
        Console.WriteLine($"vocabulary   {c.VocabSize}; context {c.MaxPositions}");
        Console.WriteLine($"parameters   {total:n0}; active per token {(least == most ? $"{least:n0}" : $"{least:n0} to {most:n0}")}");
        Console.WriteLine();
        foreach (Share s in shares.OrderByDescending(static s => s.Bytes))
            Console.WriteLine($"{s.Name,-12} {s.Tensors,6} tensors {s.Parameters,16:n0} parameters {Bytes(s.Bytes),12}");
        Console.WriteLine();
        Console.WriteLine($"to run       {Bytes(bytes)} of weights, and {Bytes(cachePerToken)} of cache per token of context, in F32");
        Console.WriteLine($"to train     {Bytes(training)} for weights, gradients and moments, and the activations");
    }

    /// <summary>Parameters one token touches, with the fewest and the most experts its routers can choose.</summary>
    private static (long Least, long Most) Active(LanguageModel model, long total)
    {
        long experts = 0, least = 0, most = 0;
        foreach ((int i, FeedForwardConfig layer) in model.Config.Layers.Index())
        {
            if (layer is not MoeConfig moe)
                continue;
            long[] each = ExpertParameters.Of(model, i);
            long[] choice = [.. moe.Columns(static b => b.IsShared ? 0 : 1).Zip(each).Where(static e => e.First > 0).Select(static e => e.Second).Order()];
            experts += each.Sum();
            least += choice.Take(moe.Router.MinExperts(choice.Length)).Sum();
            most += choice.TakeLast(moe.Router.MaxExperts(choice.Length)).Sum();
        }
        return (total - experts + least, total - experts + most);
    }

    private static string Router(ModelConfig c) => c.Layers.OfType<MoeConfig>().FirstOrDefault()?.Router switch
    {
        null => "none",
        TopKRouterConfig k => $"top-{k.TopK}{(k.Renormalize ? ", renormalised" : "")}",
        GroupedTopKRouterConfig g => $"top-{g.TopK} of {g.Scores.ToString().ToLowerInvariant()} scores"
            + $"{(g.TopGroups < g.Groups ? $" in {g.TopGroups} of {g.Groups} groups" : "")}{(g.Renormalize ? ", renormalised" : "")}",
        TopPRouterConfig p => $"top-p {p.TopP}",
        SwitchRouterConfig s => $"top-{s.TopK}{(s.Capacity is null ? "" : ", with a capacity")}",
        var other => other.GetType().Name.Replace("RouterConfig", "", StringComparison.Ordinal),
    };

    private static string Class(string path) =>
        path.Contains(".experts.", StringComparison.Ordinal) || path.Contains(".shared_experts.", StringComparison.Ordinal) ? "experts"
        : path.Contains(".mlp.gate.", StringComparison.Ordinal) || path.Contains(".mlp.gate_map.", StringComparison.Ordinal)
            || path.Contains(".mlp.gate_noise.", StringComparison.Ordinal) || path.Contains(".mlp.task_embedding.", StringComparison.Ordinal) ? "router"
        : path.Contains(".mlp.", StringComparison.Ordinal) || path.Contains(".extra_mlp.", StringComparison.Ordinal) ? "dense"
        : path.Contains(".self_attn.", StringComparison.Ordinal) ? "attention"
        : path.Contains("norm.", StringComparison.Ordinal) ? "norms"
        : path.StartsWith("lm_head", StringComparison.Ordinal) ? "output" : "embedding";

    private static string Bytes(long bytes) => bytes switch
    {
        < 10_000 => $"{bytes} B",
        < 10_000_000 => $"{bytes / 1e3:f1} kB",
        < 10_000_000_000 => $"{bytes / 1e6:f1} MB",
        _ => $"{bytes / 1e9:f1} GB",
    };
}
