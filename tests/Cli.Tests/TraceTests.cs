using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Cli.Tests;

/// <summary>The verb's own part; what the numbers must be is tested on the library.</summary>
public sealed class TraceTests
{
    [Fact]
    public void WritesEverythingThatWasAskedFor()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1, 2, 3, 4], [5, 6, 7, 8]]"), trace = folder["trace.safetensors"];
        Outcome run = Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", trace, "--grads", "--train-steps", "2");
        Assert.Equal(0, run.ExitCode);

        using SafetensorsFile file = SafetensorsFile.Open(trace);
        string[] expected =
        [
            "input_ids", "logits", "final_norm", "aux_loss", "hidden_states.2", "router.0.logits", "router.0.probs", "router.1.expert_mask",
            "router.2.expert_weight", "router.2.selected_count", "router.2.selected_slots", "loss", "ce_loss", "train.logits", "train.aux_loss",
            "grad.lm_head.weight", "grad.model.layers.2.block_sparse_moe.experts.3.w2.weight", "train.loss", "train.grad_norm",
        ];
        foreach (string name in expected)
            Assert.True(file.Contains(name), name);
        Assert.Equal([2L, 4, 96], file.Entry("logits").Shape);
        Assert.Equal([2L], file.Entry("train.loss").Shape);
        Assert.Equal("I64", file.Entry("router.0.selected_count").DType);
        Assert.Equal(2 * file.Get("router.0.selected_count").Count, file.Get("router.0.selected_count").Host<long>().ToArray().Sum());
    }

    [Fact]
    public void ComparesTwoDevices()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1, 2, 3]]");
        Outcome run = Tool.Run("trace", Golden.Folder("dynamic-moe"), "--ids-file", ids, "--out", folder["t"], "--compare", "reference", "--json");
        Assert.Equal(0, run.ExitCode);
        JsonObject largest = run.Json["largest_difference"]!.AsObject(), different = run.Json["different_integers"]!.AsObject();
        Assert.InRange((float)largest["logits"]!, 1e-9f, 5e-5f);
        Assert.Equal(0, different.Sum(static p => (int)p.Value!));
        Assert.Contains("router.2.expert_mask", different.Select(static p => p.Key));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ComparesTheirRouting(bool forced)
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1, 2, 3], [4, 5, 6]]");
        string[] force = forced ? ["--force-routing"] : [];
        string[] args = ["trace", Golden.Folder("dynamic-moe"), "--ids-file", ids, "--out", folder["t"], "--overwrite", "--compare", "reference", "--grads", .. force];
        Outcome run = Tool.Run([.. args, "--json"]);
        Assert.Equal(0, run.ExitCode);
        JsonObject routing = run.Json["routing"]!.AsObject();
        Assert.Equal(forced, (bool)routing["forced"]!);
        Assert.Equal(3 * 6, (int)routing["choices"]!);
        Assert.Equal(1e-4f, (float)routing["tolerance"]!);
        foreach (string count in new[] { "within_tolerance", "beyond_tolerance", "margin_unknown", "later_flips" })
            Assert.Equal(0, (int)routing[count]!);
        Assert.Empty(routing["first_flips"]!.AsArray());
        float[] differences = [.. run.Json["largest_difference"]!.AsObject().Select(static p => (float)p.Value!)];
        Assert.Equal(differences.OrderDescending(), differences);
        Assert.Equal(differences.Length + run.Json["different_integers"]!.AsObject().Count, TensorsIn(folder["t"]));

        Outcome text = Tool.Run(args);
        Assert.Equal(0, text.ExitCode);
        string[] lines = text.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.StartsWith("largest deviation of each tensor", lines[0], StringComparison.Ordinal);
        Assert.Equal($"and {differences.Length - 20} more, which deviate by no more than that", lines[21]);
        Assert.Equal("0 of the integers differ (experts, counts and ids)", lines[22]);
        Assert.Contains(forced ? "routing forced: by itself the second device would have chosen otherwise in 0 of 18" : "routing: 0 of 18 choices", lines[23], StringComparison.Ordinal);
        Assert.Equal("0 real disagreements (margins above 1e-4)", lines[24]);
    }

    /// <summary>A router whose experts' rows are alike but for rounding: devices disagree about ties, and about nothing else.</summary>
    [Fact]
    public void TellsFlipsFromDrift()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 16]]"), model = folder["ties"];
        Save(model, new TopKRouterConfig(2), static gate =>
        {
            for (int i = 20; i < gate.Length; i++)
                gate[i] = gate[i % 20] * (1 + i / 20 * 1e-7f);
        });
        string[] args = ["trace", model, "--ids-file", ids, "--out", folder["t"], "--overwrite", "--compare", "reference"];
        JsonObject free = Tool.Run([.. args, "--json"]).Json, forced = Tool.Run([.. args, "--json", "--force-routing"]).Json;
        JsonArray flips = free["routing"]!["first_flips"]!.AsArray();
        Assert.NotEmpty(flips);
        Assert.All(flips, static f => Assert.InRange((float)f!["margin"]!, 0, 1e-6f));
        Assert.Equal(["layer", "row", "token", "margin"], flips[0]!.AsObject().Select(static p => p.Key));
        Assert.Equal(flips.Count, (int)free["routing"]!["within_tolerance"]!);
        Assert.NotEmpty(forced["routing"]!["first_flips"]!.AsArray());
        Assert.Equal(0, (int)forced["routing"]!["later_flips"]!);
        Assert.Equal(0, forced["different_integers"]!.AsObject().Sum(static p => (int)p.Value!));
        Assert.True((float)free["largest_difference"]!["logits"]! > 1e-2f);
        Assert.InRange((float)forced["largest_difference"]!["logits"]!, 0, 5e-5f);

        Outcome text = Tool.Run(args);
        Assert.Contains($"routing: {flips.Count} of 32 choices (token and layer) differ by themselves; {(int)free["routing"]!["later_flips"]!} more follow", text.Output, StringComparison.Ordinal);
        Assert.Contains("  with a margin ", text.Output, StringComparison.Ordinal);
        Assert.EndsWith("0 real disagreements (margins above 1e-4)\n", text.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void RefusesToForceWhatItCannot()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1, 2, 3]]"), model = folder["base"];
        Save(model, new BaseRouterConfig(), static _ => { });
        string[] args = ["trace", model, "--ids-file", ids, "--out", folder["t"], "--force-routing"];
        Tool.Run(args).RequireError("--force-routing", "--compare");
        Tool.Run([.. args, "--compare", "reference", "--grads"]).RequireError("--force-routing", "BASE", "--grads");
        Tool.Run([.. args, "--compare", "reference", "--train-steps", "1"]).RequireError("--force-routing", "BASE");
        Assert.False(File.Exists(folder["t"]));
        Assert.Equal(0, Tool.Run([.. args, "--compare", "reference"]).ExitCode);
    }

    /// <summary>A model of two mixture layers, its routers' matrices [5, 20] changed.</summary>
    private static void Save(string folder, RouterConfig router, Action<float[]> change)
    {
        MoeConfig moe = new(router, [new FfnExpertsConfig(5, 7)]);
        ModelConfig config = new()
        {
            VocabSize = 31,
            HiddenSize = 20,
            Attention = new AttentionConfig { Heads = 2, KvHeads = 1, HeadDim = 10 },
            Layers = [moe, moe],
            MaxPositions = 64,
            InitStd = 0.3f,
        };
        using IBackend backend = CpuBackend.Create();
        using LanguageModel model = LanguageModel.Create(backend, new FromScratch(), config, seed: 1);
        foreach (Tensor gate in model.Weights.All.Where(static w => w.Name!.EndsWith(".gate.weight", StringComparison.Ordinal)))
        {
            float[] values = backend.ToFloats(gate);
            change(values);
            backend.Upload<float>(values, gate);
        }
        model.Save(folder);
    }

    private static int TensorsIn(string path)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return file.Entries.Count;
    }

    [Fact]
    public void AMaskHidesPaddingFromTheOthers()
    {
        using Folder folder = new();
        string model = Golden.Folder("mixtral");
        string alone = folder.Write("a.json", "[[9, 8, 7]]"), padded = folder.Write("b.json", "[[9, 8, 7, 0, 0]]"), mask = folder.Write("m.json", "[[1, 1, 1, 0, 0]]");
        Assert.Equal(0, Tool.Run("trace", model, "--ids-file", alone, "--out", folder["a"]).ExitCode);
        Assert.Equal(0, Tool.Run("trace", model, "--ids-file", padded, "--mask-file", mask, "--out", folder["b"]).ExitCode);
        using SafetensorsFile a = SafetensorsFile.Open(folder["a"]), b = SafetensorsFile.Open(folder["b"]);
        float[] x = a.Get("logits").Floats.ToArray(), y = b.Get("logits").Floats[..x.Length].ToArray();
        Assert.All(x.Zip(y), static p => Assert.InRange(p.First - p.Second, -5e-5f, 5e-5f));
        Assert.InRange(a.Get("aux_loss").Floats[0] - b.Get("aux_loss").Floats[0], -2e-5f, 2e-5f);
    }

    /// <summary>Only where a balance loss weighs tokens.</summary>
    [Fact]
    public void WeighsTokens()
    {
        using Folder folder = new();
        string model = Golden.Folder("uni-moe-2");
        string ids = folder.Write("a.json", "[[9, 8, 7, 6, 5, 4]]"), first = folder.Write("w.json", "[[2.5, 0, 0, 0, 0, 0]]"), one = folder.Write("b.json", "[[9]]");
        Assert.Equal(0, Tool.Run("trace", model, "--ids-file", ids, "--token-weights-file", first, "--out", folder["a"]).ExitCode);
        Assert.Equal(0, Tool.Run("trace", model, "--ids-file", one, "--out", folder["b"]).ExitCode);
        using SafetensorsFile a = SafetensorsFile.Open(folder["a"]), b = SafetensorsFile.Open(folder["b"]);
        foreach (string name in new[] { "aux_loss", "router.0.aux_loss", "router.1.aux_loss" })
            Assert.InRange(a.Get(name).Floats[0] - b.Get(name).Floats[0], -2e-5f, 2e-5f);
        Assert.Equal("I64", a.Entry("router.0.dynamic_top_k").DType);

        string none = folder.Write("z.json", "[[0, 0, 0, 0, 0, 0]]"), few = folder.Write("f.json", "[[1, 1]]"), negative = folder.Write("n.json", "[[1, -1, 1, 1, 1, 1]]");
        Tool.Run("trace", model, "--ids-file", ids, "--token-weights-file", none, "--out", folder["c"]).RequireError("gives no token a weight");
        Tool.Run("trace", model, "--ids-file", ids, "--token-weights-file", few, "--out", folder["c"]).RequireError("f.json", "1 rows of 2");
        Tool.Run("trace", model, "--ids-file", ids, "--token-weights-file", negative, "--out", folder["c"]).RequireError("n.json", "-1");
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--token-weights-file", first, "--out", folder["c"]).RequireError("mixtral", "do not weigh tokens");
    }

    [Fact]
    public void RefusesToReplaceAFileOfTheModel()
    {
        using Folder folder = new();
        foreach (string file in Directory.EnumerateFiles(Golden.Folder("mixtral")))
            File.Copy(file, folder[Path.GetFileName(file)]);
        byte[] before = File.ReadAllBytes(folder["model.safetensors"]);
        string ids = folder.Write("ids.json", "[[1, 2]]");
        File.CreateSymbolicLink(folder["link"], folder.Path);
        foreach (string output in new[] { folder["model.safetensors"], folder["model-00001-of-00002.safetensors"], Path.Combine(folder["link"], "model.safetensors") })
            Tool.Run("trace", folder.Path, "--ids-file", ids, "--out", output, "--overwrite").RequireError("is a file of the checkpoint, or would be taken for one");
        Assert.Equal(before, File.ReadAllBytes(folder["model.safetensors"]));
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", ids, "--overwrite").RequireError("--out", "ids.json, which is read");
        Assert.Equal("[[1, 2]]", File.ReadAllText(ids));
    }

    /// <summary>A file is replaced when that is asked for, and then as a whole: a run that fails leaves what was there.</summary>
    [Fact]
    public void ReplacesAFileOnlyWhenAsked()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1, 2]]"), bad = folder.Write("bad.json", "[[96]]"), trace = folder.Write("t", "notes of mine");
        string[] args = ["trace", Golden.Folder("mixtral"), "--out", trace, "--ids-file"];
        Tool.Run([.. args, ids]).RequireError("is there already", "--overwrite");
        Tool.Run([.. args, bad, "--overwrite"]).RequireError("bad.json");
        Assert.Equal("notes of mine", File.ReadAllText(trace));
        Assert.Equal(0, Tool.Run([.. args, ids, "--overwrite"]).ExitCode);
        Assert.True(TensorsIn(trace) > 10);
        Assert.Equal(["bad.json", "ids.json", "t"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder.Path).RequireError("is no file");
    }

    [Fact]
    public void RefusesToLearnFromNothing()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1]]");
        Assert.Equal(0, Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["t"]).ExitCode);
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["t"], "--overwrite", "--grads").RequireError("no next token");
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["u"], "--compare", "abacus").RequireError("abacus");
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["u"], "--grads", "--betas", "0.9,0.9").RequireError("--betas is for training steps", "--train-steps");
        Assert.False(File.Exists(folder["u"]));
    }

    [Theory]
    [InlineData("[[1, 2], [3]]", "equal length")]
    [InlineData("[[1, 96]]", "96")]
    [InlineData("[[-1]]", "-1")]
    [InlineData("[]", "rows")]
    [InlineData("{}", "list of lists")]
    [InlineData("[[1.5]]", "list of lists")]
    public void RefusesBadIds(string json, string part)
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", json);
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["t"]).RequireError("ids.json", part);
        Assert.False(File.Exists(folder["t"]));
    }
}
