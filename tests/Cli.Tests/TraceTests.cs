using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
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
        Tool.Run("trace", folder.Path, "--ids-file", ids, "--out", folder["model.safetensors"]).RequireError("is a file of the checkpoint");
        Assert.Equal(before, File.ReadAllBytes(folder["model.safetensors"]));
    }

    [Fact]
    public void RefusesToLearnFromNothing()
    {
        using Folder folder = new();
        string ids = folder.Write("ids.json", "[[1]]");
        Assert.Equal(0, Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["t"]).ExitCode);
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["t"], "--grads").RequireError("no next token");
        Tool.Run("trace", Golden.Folder("mixtral"), "--ids-file", ids, "--out", folder["u"], "--compare", "abacus").RequireError("abacus");
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
