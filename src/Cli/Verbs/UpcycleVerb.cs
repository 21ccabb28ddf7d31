using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using MoeFromScratch.Cli.Training;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Upcycling;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe upcycle</c>: a mixture of experts from a dense model.</summary>
internal static class UpcycleVerb
{
    private const string Copy = "copy", Slice = "slices", Random = "random", Clusters = "clusters", Importance = "importance", Given = "neurons", Groups = "groups";
    private static readonly string[] Methods = [Copy, Slice, Random, Clusters, Importance, Given, Groups], Splits = [Random, Clusters, Importance, Given];

    public static Command Command()
    {
        Argument<string> dense = new("DENSE") { Description = "Folder with the dense model's config.json and safetensors." };
        Option<string> output = new("--out") { Description = "Folder for the mixture and its receipt upcycle.json.", Required = true, HelpName = "DIR" };
        Option<bool> overwrite = new("--overwrite") { Description = "Replace the model in --out." };
        Option<string?> method = new("--method")
        {
            Description = "copy: each expert is the whole network (the default). slices: DCMoE's. random, clusters (balanced k-means), importance (from gradients), "
                + "neurons (from a file): LLaMA-MoE's splits. groups: virtual groups.",
            HelpName = "NAME",
        };
        Option<int?> experts = new("--experts") { Description = "Experts that come from the dense network (4 of slices, else 8); with groups, copies of each shard (2).", HelpName = "N" };
        Option<int?> topK = new("--top-k") { Description = "Experts per token; 2 unless said otherwise, with groups one of each shard.", HelpName = "K" };
        Option<float?> topP = new("--router-top-p") { Description = "Top-P routing with this threshold instead: of copy, and of slices, where 0.7 is the default.", HelpName = "P" };
        Option<string?> weights = new("--weights")
        {
            Description = "renormalized: the chosen experts' weights sum to 1 (default of copy). raw: they are the router's probabilities (default of groups).",
            HelpName = "KIND",
        };
        Option<int?> dynamicFactor = new("--dynamic_mlp_size_factor", "--dynamic-mlp-size-factor") { Description = "slices: a routed expert has 1/N of the neurons (4).", HelpName = "N" };
        Option<int?> fixedFactor = new("--fixed_mlp_size_factor", "--fixed-mlp-size-factor") { Description = "slices: a shared expert has 1/N of the neurons (8).", HelpName = "N" };
        Option<string?> moeCopy = new("--moe_copy", "--moe-copy") { Description = "slices: all experts take their slice, or the first routed and the first shared one alone (single), or none; the others are drawn.", HelpName = "all|single|none" };
        Option<int?> granularity = new("--granularity") { Description = "groups: shards that a network is cut into (4).", HelpName = "G" };
        Option<string?> scaling = new("--scaling")
        {
            Description = "groups: exact (up and down make up for the weights, the default), paper (the cube root on gate, up and down) or none.",
            HelpName = "KIND",
        };
        Option<string?> neurons = new("--neurons") { Description = "neurons: JSON with, for each layer, the expert of every neuron or the neurons of every expert.", HelpName = "FILE" };
        Option<int?> sharedNeurons = new("--shared-neurons") { Description = "importance: so many neurons, those that always matter, become a network that always runs (0).", HelpName = "N" };
        Option<float?> scale = new("--score-scale") { Description = "Splits: factor on the router's weights; the default makes up for the neurons that do not run.", HelpName = "X" };
        Option<string?> gate = new("--gate") { Description = "Splits: mlp (two matrices, the default) or linear.", HelpName = "KIND" };
        Option<string> router = new("--router")
        {
            Description = "How routers start: normal, zeros (of a gate of two matrices the second), or a safetensors file with the gates by their names in the new model.",
            DefaultValueFactory = static _ => "normal",
            HelpName = "KIND|FILE",
        };
        Option<float?> std = new("--router-std") { Description = "Standard deviation of --router normal; the dense model's initializer_range when it is not given.", HelpName = "X" };
        Option<int> every = new("--every") { Description = "A mixture in each Nth layer only.", DefaultValueFactory = static _ => 1, HelpName = "N" };
        Option<string?> add = new("--add")
        {
            Description = $"Further experts: KIND or KIND:N, separated by commas, of {string.Join(", ", AddedExperts.Kinds)} and null. "
                + "Networks are drawn; a shared expert adds nothing at first (slices: takes the first slice).",
            HelpName = "KIND:N,…",
        };
        Option<float?> balance = new("--balance-loss") { Description = "Coefficient of the balance loss in the new config.json; 0 for none, the method's usual one when it is not given.", HelpName = "X" };
        Option<string?> family = new("--family") { Description = "Whose checkpoints to write, such as mixtral; the first that can describe the mixture when it is not given.", HelpName = "NAME" };
        Option<string?> text = new("--sample-text") { Description = "Text to compare the models on, and for importance to learn from; a built-in one when it is not given.", HelpName = "FILE" };
        Option<ulong> seed = Common.Seed();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("a summary");
        Command command = new("upcycle", "Make a mixture of experts of a dense model.")
        {
            dense, output, overwrite, method, experts, topK, topP, weights, dynamicFactor, fixedFactor, moeCopy, granularity, scaling, neurons, sharedNeurons, scale, gate,
            router, std, every, add, balance, family, text, seed, threads, json,
        };
        command.SetAction(r =>
        {
            string chosen = r.GetValue(method) ?? Implied(r, (Slice, [dynamicFactor, fixedFactor, moeCopy]), (Groups, [granularity, scaling]), (Given, [neurons]), (Importance, [sharedNeurons]));
            if (!Methods.Contains(chosen))
                throw new ArgumentException($"there is no --method {chosen}; there is {string.Join(", ", Methods)}");
            Belong(r, chosen, ([.. Methods.Except([Given])], [experts]), ([Copy, Slice], [topP]), ([Copy, Groups], [weights]), ([Slice], [dynamicFactor, fixedFactor, moeCopy]),
                ([Groups], [granularity, scaling]), ([Given], [neurons]), ([Importance], [sharedNeurons]), (Splits, [scale, gate]));
            if (r.GetValue(topK) is not null && r.GetValue(topP) is not null)
                throw new ArgumentException("a router goes by --top-k or by --router-top-p, not by both");
            ulong s = r.GetValue(seed);
            int Count(int absent) => Positive(r.GetValue(experts), "--experts") ?? absent;
            int K(int absent) => Positive(r.GetValue(topK), "--top-k") ?? absent;
            float? p = r.GetValue(topP) is not { } given || given is > 0 and <= 1 ? r.GetValue(topP)
                : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--router-top-p must be above 0 and at most 1, not {given}"));
            SplitRouter split = new(K(2), Positive(r.GetValue(scale), "--score-scale"), Word(r.GetValue(gate), "--gate", "mlp", "linear") == "mlp");
            AddedExperts[] added = [.. r.GetValue(add) is { } kinds ? AddedExperts.Parse(kinds) : []];
            if (r.GetValue(fixedFactor) is not null && !added.Any(static a => a.Kind == AddedExperts.Shared))
                throw new ArgumentException("--fixed_mlp_size_factor is for shared experts: add some with --add shared:N");
            int g = Positive(r.GetValue(granularity), "--granularity") ?? 4;
            UpcycleMethod way = chosen switch
            {
                Copy => new PlainCopy(Count(8), new CopyRouter(K(2), p, Renormalized(r.GetValue(weights), absent: "renormalized"))),
                Slice => new Slices(Count(4), Positive(r.GetValue(dynamicFactor), "--dynamic_mlp_size_factor") ?? 4, Positive(r.GetValue(fixedFactor), "--fixed_mlp_size_factor") ?? 8,
                    r.GetValue(topK) is null ? p ?? 0.7f : 0, r.GetValue(topK) is null ? 0 : K(0), Enum.Parse<SliceCopies>(Word(r.GetValue(moeCopy), "--moe_copy", "all", "single", "none"), ignoreCase: true)),
                Random => new RandomSplit(Count(8), s, split),
                Clusters => new ClusterSplit(Count(8), s, split),
                Importance => new ImportanceSplit(Count(8), NotNegative(r.GetValue(sharedNeurons), "--shared-neurons") ?? 0, s, split),
                Given => GivenSplit.Read(r.GetValue(neurons) ?? throw new ArgumentException("--method neurons reads them from a file: name it with --neurons"), split),
                _ => new VirtualGroups(Count(2), g, K(g), Enum.Parse<Scaling>(Word(r.GetValue(scaling), "--scaling", "exact", "paper", "none"), ignoreCase: true),
                    Renormalized(r.GetValue(weights), absent: "raw")),
            };
            UpcycleOptions options = new(way)
            {
                Every = Positive<int>(r.GetValue(every), "--every")!.Value,
                Add = added,
                Router = Router(r.GetValue(router)!, r.GetValue(std)),
                BalanceLoss = NotNegative(r.GetValue(balance), "--balance-loss"),
                Family = r.GetValue(family) is { } name ? FindFamily(name) : null,
                Seed = s,
            };
            using IBackend backend = Common.Backend("cpu", r.GetValue(threads));
            using DenseModel source = DenseModel.Load(r.GetValue(dense)!, backend);
            string? sampleFile = r.GetValue(text);
            Sample sample = Sample.Of(source.Model, sampleFile is null ? null : TrainingText.ReadOne(sampleFile, "--sample-text"), sampleFile ?? "", s);
            return Run(source, r.GetValue(output)!, options, sample, r.GetValue(overwrite), r.GetValue(json));
        });
        return command;
    }

    private static int Run(DenseModel dense, string folder, UpcycleOptions options, Sample sample, bool overwrite, bool json)
    {
        using StopSignal stop = new();
        try
        {
            Receipt receipt = Upcycler.Run(dense, folder, options, sample, overwrite, stop.Token);
            if (json)
                Common.PrintJson(Summary(receipt, folder));
            else
                Print(receipt, folder);
            return Program.Success;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine($"moe: stopped; {folder} is as it was");
            return Program.Interrupted;
        }
    }

    private static JsonObject Summary(Receipt receipt, string folder)
    {
        JsonObject json = receipt.ToJson();
        json.Remove("neurons");
        json.Remove("tensors");
        (int copied, int cut, int drawn, int other) = receipt.Counts;
        json["tensors"] = new JsonObject { ["copied"] = copied, ["cut"] = cut, ["drawn"] = drawn, ["other"] = other };
        json["out"] = folder;
        return json;
    }

    private static void Print(Receipt receipt, string folder)
    {
        (int copied, int cut, int drawn, int other) = receipt.Counts;
        OutputDifference d = receipt.Difference;
        foreach (string note in receipt.Plan.Notes)
            Console.Error.WriteLine($"note: {note}");
        Console.WriteLine($"{receipt.Options.Method.Name}: {receipt.Parameters:n0} parameters from {receipt.Dense.Model.Weights.Count:n0}, {receipt.Plan.Family.NameWithArticle} checkpoint in {folder}");
        Console.WriteLine($"tensors: {copied} copied, {cut} cut or scaled, {drawn} drawn{(other > 0 ? $", {other} given or computed" : "")}; {Receipt.FileName} says which from what");
        Console.WriteLine($"relative difference of the outputs from the dense model's, {d.Tokens} tokens of {receipt.Sample.Source}:");
        foreach ((int layer, double difference) in d.Layers.Index())
            Console.WriteLine($"  layer {layer,3}  {Short(difference)}");
        Console.WriteLine($"  logits     {Short(d.Logits)}");
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"loss there: dense {d.DenseLoss:f4}, upcycled {d.UpcycledLoss:f4}"));
    }

    private static string Short(double value) => value.ToString("0.0e+0", CultureInfo.InvariantCulture);

    /// <summary>The method whose own options are used; copy where none are.</summary>
    private static string Implied(ParseResult r, params ReadOnlySpan<(string Method, Option[] Options)> own)
    {
        foreach ((string method, Option[] options) in own)
            if (options.Any(o => r.GetResult(o) is { Implicit: false }))
                return method;
        return Copy;
    }

    /// <summary>No option is ignored in silence.</summary>
    private static void Belong(ParseResult r, string method, params ReadOnlySpan<(string[] Methods, Option[] Options)> own)
    {
        foreach ((string[] methods, Option[] options) in own)
            foreach (Option option in options)
                if (r.GetResult(option) is { Implicit: false } && !methods.Contains(method))
                    throw new ArgumentException($"{option.Name} goes with --method {string.Join(" or ", methods)}, not with {method}");
    }

    private static RouterInit Router(string kind, float? std)
    {
        if (std is not null && kind != "normal")
            throw new ArgumentException("--router-std goes with --router normal");
        return kind switch
        {
            "normal" => new RouterInit(NotNegative(std, "--router-std")),
            "zeros" => new RouterInit(0),
            _ when File.Exists(kind) => new RouterInit(File: kind),
            _ => throw new ArgumentException($"--router takes normal, zeros or a safetensors file; '{kind}' is none of them"),
        };
    }

    private static Family FindFamily(string name) => Family.All.FirstOrDefault(f => f.Name.Replace('_', '-') == name.Replace('_', '-'))
        ?? throw new ArgumentException($"there is no family '{name}'; there is {string.Join(", ", Family.All.Select(static f => f.Name))}");

    private static bool Renormalized(string? word, string absent) => Word(word ?? absent, "--weights", "renormalized", "raw") == "renormalized";

    /// <summary>One of some words, the first when none is given.</summary>
    private static string Word(string? word, string option, params string[] words) => word is null ? words[0]
        : words.Contains(word) ? word : throw new ArgumentException($"{option} is {string.Join(" or ", words)}, not '{word}'");

    private static T? Positive<T>(T? value, string option) where T : struct, System.Numerics.INumber<T> =>
        value is not { } v || (v > T.Zero && !T.IsPositiveInfinity(v)) ? value : throw new ArgumentException($"{option} must be above 0, not {v}");

    private static T? NotNegative<T>(T? value, string option) where T : struct, System.Numerics.INumber<T> =>
        value is not { } v || (v >= T.Zero && !T.IsPositiveInfinity(v)) ? value : throw new ArgumentException($"{option} must be a number of at least 0, not {v}");
}
