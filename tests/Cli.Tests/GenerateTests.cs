using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

public sealed class GenerateTests
{
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("mixtral-bf16-sharded")]
    public void GreedyIdsAreTheReferences(string golden)
    {
        JsonObject expected = JsonNode.Parse(File.ReadAllText(Path.Combine(Golden.Folder(golden), "greedy.json")))!.AsObject();
        string prompt = string.Join(',', expected["prompt"].Deserialize<int[]>()!);
        string[] args = ["generate", "--model", Golden.Folder(golden), "--prompt-ids", prompt, "--greedy", "--max-new-tokens", "24", "--ignore-eos", "--json"];
        foreach (string[] more in (string[][])[[], ["--no-cache"], ["--device", "reference"]])
        {
            Outcome run = Tool.Run([.. args, .. more]);
            Assert.Equal(0, run.ExitCode);
            Assert.Equal(expected["generated"].Deserialize<int[]>(), run.Json["ids"].Deserialize<int[]>());
            Assert.Equal(expected["prompt"].Deserialize<int[]>(), run.Json["prompt_ids"].Deserialize<int[]>());
            Assert.Equal(24, run.Json["experts_per_token"]!.AsArray().Count);
            Assert.Null(run.Json["text"]);
            Assert.True((double)run.Json["tokens_per_second"]! > 0);
        }
    }

    /// <summary>With a context of one token, the model sees its last token only; with the cache or without it, that is the same.</summary>
    [Fact]
    public void ATextOutgrowsTheSmallestContext()
    {
        using Folder folder = new();
        foreach (string file in Directory.EnumerateFiles(Golden.Folder("mixtral")))
            File.Copy(file, folder[Path.GetFileName(file)]);
        string config = File.ReadAllText(folder["config.json"]);
        folder.Write("config.json", config.Replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 1", StringComparison.Ordinal));
        string[] args = ["generate", "-m", folder.Path, "--prompt-ids", "3", "--greedy", "--max-new-tokens", "5", "--ignore-eos", "--json"];
        int[] ids = Tool.Run(args).Json["ids"].Deserialize<int[]>()!;
        Assert.Equal(5, ids.Length);
        Assert.Equal(ids, Tool.Run([.. args, "--no-cache"]).Json["ids"].Deserialize<int[]>());
    }

    [Fact]
    public void AMixtralTokenUsesItsTwoExperts()
    {
        Outcome run = Tool.Run("generate", "-m", Golden.Folder("mixtral"), "--prompt-ids", "3,17,5", "--max-new-tokens", "6", "--ignore-eos", "--json", "--seed", "4");
        Assert.All(run.Json["experts_per_token"].Deserialize<double[]>()!, static e => Assert.Equal(2, e));
    }

    [Fact]
    public void TheSameSeedDrawsTheSameTokens()
    {
        string Ids(string seed, string temperature) => Tool.Run("generate", "-m", Golden.Folder("mixtral"), "--prompt-ids", "3,17,5", "--max-new-tokens", "16",
            "--ignore-eos", "--json", "--temperature", temperature, "--seed", seed).Json["ids"]!.ToJsonString();
        string first = Ids("1", "1.5");
        Assert.Equal(first, Ids("1", "1.5"));
        Assert.NotEqual(first, Ids("2", "1.5"));
        Assert.NotEqual(first, Ids("1", "0"));
    }

    [Fact]
    public void SamplingAndRoutingOptionsReachTheModel()
    {
        string[] args = ["generate", "-m", Golden.Folder("dynamic-moe"), "--prompt-ids", "49,54,25,93,5", "--max-new-tokens", "16", "--ignore-eos", "--json"];
        string greedy = Ids(["--greedy"]);
        Assert.Equal(greedy, Ids(["--top-k", "1"]));
        Assert.Equal(greedy, Ids(["--top-p", "0.000001", "--seed", "9"]));
        Assert.Equal(greedy, Ids(["--min-p", "1"]));
        Assert.NotEqual(greedy, Ids(["--greedy", "--repetition-penalty", "1000"]));
        Assert.All(Tool.Run([.. args, "--router-top-k", "1"]).Json["experts_per_token"].Deserialize<double[]>()!, static e => Assert.Equal(1, e));
        Assert.All(Tool.Run([.. args, "--router-top-k", "1,2,3"]).Json["experts_per_token"].Deserialize<double[]>()!, static e => Assert.Equal(2, e));

        string Ids(string[] more) => Tool.Run([.. args, .. more]).Json["ids"]!.ToJsonString();
    }

    [Fact]
    public void ShowExpertsSumsUpByLayerWithoutColoursInAFile()
    {
        Outcome run = Tool.Run("generate", "-m", Golden.Folder("dynamic-moe"), "--prompt-ids", "3,17,5", "--max-new-tokens", "8", "--ignore-eos", "--show-experts");
        Assert.Equal(0, run.ExitCode);
        Assert.DoesNotContain('\e', run.Output);
        Assert.Contains("mean experts per token: ", run.Output, StringComparison.Ordinal);
        Assert.Equal(3, run.Output.Split('\n').Count(static l => l.StartsWith("layer ", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("--prompt-ids", "3,x", "'x'")]
    [InlineData("--prompt-ids", "3,96", "96")]
    [InlineData("--prompt-ids", "", "''")]
    [InlineData("--temperature", "-1", "-1")]
    [InlineData("--temperature", "warm", "warm")]
    [InlineData("--max-new-tokens", "-5", "-5")]
    [InlineData("--device", "abacus", "abacus")]
    [InlineData("--device", "cuda:999", "device cuda:999: ")]
    [InlineData("--precision", "f16", "'f16'")]
    [InlineData("--precision", "tf32", "the device cpu computes in f32")]
    [InlineData("--threads", "-1", "-1")]
    [InlineData("--top-p", "2", "top-p")]
    [InlineData("--min-p", "-1", "min-p")]
    [InlineData("--top-k", "-1", "top-k")]
    [InlineData("--stop", "", "stop string")]
    [InlineData("--router-top-p", "much", "'much'")]
    [InlineData("--router-top-p", "2", "--router-top-p must be above 0 and at most 1, not 2")]
    [InlineData("--router-top-p", "NaN", "--router-top-p must be above 0 and at most 1, not NaN")]
    [InlineData("--router-top-k", "9", "--router-top-k must lie between 1 and the number of experts 4, not be 9")]
    [InlineData("--router-top-k", "0", "--router-top-k must lie between 1 and the number of experts 4, not be 0")]
    [InlineData("--router-top-k", "1,1", "3 mixture layers")]
    [InlineData("--router-max-experts", "1", "top-p")]
    [InlineData("--router-max-experts", "0", "--router-max-experts must be at least 1, not 0")]
    [InlineData("--task", "1", "does not route by task")]
    [InlineData("--frobnicate", "1", "--frobnicate")]
    public void BadOptionsGetOneLine(string option, string value, string part)
    {
        string[] prompt = option == "--prompt-ids" ? [] : ["--prompt-ids", "3"];
        Tool.Run(["generate", "-m", Golden.Folder("mixtral"), .. prompt, option, value]).RequireError(part);
    }

    [Fact]
    public void SeveralPromptsAreContinuedInOneRun()
    {
        string[] args = ["generate", "-m", Golden.Folder("mixtral"), "--max-new-tokens", "6", "--ignore-eos", "--greedy", "--prompt-ids"];
        Outcome both = Tool.Run([.. args, "3,17,5", "--prompt-ids", "8", "--json"]);
        foreach ((int i, string prompt) in new[] { "3,17,5", "8" }.Index())
            Assert.Equal(Tool.Run([.. args, prompt, "--json"]).Json["ids"]!.ToJsonString(), JsonNode.Parse(both.Output)![i]!["ids"]!.ToJsonString());
        string plain = Tool.Run([.. args, "3,17,5", "--prompt-ids", "8"]).Output;
        Assert.Equal($"{Tool.Run([.. args, "3,17,5"]).Output}\n{Tool.Run([.. args, "8"]).Output}", plain.ReplaceLineEndings("\n"));
    }

    [Fact]
    public void MissingThingsGetOneLine()
    {
        Tool.Run("generate", "hello", "-m", "/no/such/folder").RequireError("/no/such/folder", "no such folder");
        Tool.Run("generate", "hello", "-m", Golden.Folder("mixtral")).RequireError("tokenizer.json", "--prompt-ids");
        Tool.Run("generate", "hello", "-m", Golden.Folder("switch-mlp")).RequireError("SwitchTransformersForConditionalGeneration", "MixtralForCausalLM", "GptOssForCausalLM");
        Tool.Run("generate", "--greeedy", "hello", "--", "world").RequireError("--greeedy");
        Tool.Run("generate", "hello", "-m", Golden.Folder("mixtral"), "--prompt-ids", "3").RequireError("not both");
        Tool.Run("generate", "-m", Golden.Folder("mixtral"), "--prompt-ids", "3", "--greedy", "--temperature", "0.5").RequireError("--greedy is --temperature 0");
        Tool.Run("generate", "-x", "-m", Golden.Folder("mixtral")).RequireError("'-x'");
        Tool.Run("generate", "-m", Golden.Folder("mixtral"), "--", "--x").RequireError("tokenizer.json");
        Tool.Run("generate", "@file", "-m", Golden.Folder("mixtral")).RequireError("tokenizer.json");
        Tool.Run("generat").RequireError("generat");
    }
}
