using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Tests;

public sealed class ExtractTests : IDisposable
{
    private readonly Folder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>The part writes what the whole writes for the task, and is not asked which one it is for.</summary>
    [Fact]
    public void ThePartGoesOnAsTheWhole()
    {
        MoeConfig moe = new(new TaskRouterConfig(3), [new FfnExpertsConfig(6, 7)]);
        ModelConfig config = new()
        {
            VocabSize = 31,
            HiddenSize = 20,
            Attention = new AttentionConfig { Heads = 2, KvHeads = 1, HeadDim = 10 },
            Layers = [moe, moe],
            MaxPositions = 64,
            InitStd = 0.3f,
        };
        string whole = _folder["whole"], part = _folder["part"];
        using (IBackend backend = CpuBackend.Create())
        using (LanguageModel model = LanguageModel.Create(backend, new FromScratch(), config, seed: 1))
            model.Save(whole);
        File.WriteAllText(Path.Combine(whole, "generation_config.json"), "{ \"eos_token_id\": 7 }");
        string[] prompt = ["generate", "--prompt-ids", "3,17,5", "--greedy", "--max-new-tokens", "8", "--json"];
        Tool.Run([.. prompt, "-m", whole]).RequireError("routes by task");
        Tool.Run([.. prompt, "-m", whole, "--task", "3"]).RequireError("the model knows the tasks 0 to 2, not 3");
        Tool.Run("extract", whole, "--task", "3", "--out", part).RequireError("knows the tasks 0 to 2");
        JsonObject summary = Tool.Run("extract", whole, "--task", "1", "--out", part, "--json").Json;
        Assert.Equal(2 * (4 * 3 * 7 * 20 + 6 * 20 + 3 * 20 - 2), (long)summary["parameters_of_the_whole"]! - (long)summary["parameters"]!);
        Tool.Run("extract", whole, "--task", "1", "--out", part).RequireError("already holds a model");
        foreach (string nowhere in new[] { whole, whole + "/", _folder.Path })
            Tool.Run("extract", whole, "--task", "1", "--out", nowhere, "--overwrite").RequireError($"--out {nowhere} holds {whole}");
        Tool.Run("extract", whole, "--task", "1", "--out", "").RequireError("--out '' is no folder");
        Assert.Equal("{ \"eos_token_id\": 7 }", File.ReadAllText(Path.Combine(part, "generation_config.json")));
        File.WriteAllText(Path.Combine(part, "model.safetensors.index.json"), "of an older model, in shards");
        Assert.Equal(0, Tool.Run("extract", whole, "--task", "1", "--out", part, "--overwrite").ExitCode);
        Assert.Equal(["config.json", "generation_config.json", "model.safetensors"], Directory.EnumerateFileSystemEntries(part).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(Ids(whole, "--task", "1"), Ids(part));
        Assert.NotEqual(Ids(whole, "--task", "1"), Ids(whole, "--task", "0"));

        string Ids(string folder, params string[] more) => Tool.Run([.. prompt, "-m", folder, .. more]).Json["ids"]!.ToJsonString();
    }
}
