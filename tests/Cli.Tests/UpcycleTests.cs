using System.Text.Json.Nodes;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

public sealed class UpcycleTests : IDisposable
{
    private readonly Folder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static string Dense => Golden.Folder("dense-llama");

    /// <summary>Copies write on as the dense model does; what is there is replaced only when that is asked for.</summary>
    [Fact]
    public void CopiesGoOnAsTheDenseModel()
    {
        string mixture = _folder["mixture"];
        JsonObject summary = Tool.Run("upcycle", Dense, "--out", mixture, "--experts", "3", "--json").Json;
        Assert.Equal("mixtral", (string)summary["family"]!);
        Assert.Equal(0, (int)summary["tensors"]!["cut"]!);
        Assert.True((double)summary["difference"]!["logits"]! < 1e-5);
        Assert.Contains("random ids, the model has no tokenizer", (string)summary["difference"]!["sample"]!, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(mixture, "upcycle.json")));
        string[] prompt = ["generate", "--prompt-ids", "3,17,5", "--greedy", "--max-new-tokens", "8", "--json", "-m"];
        Assert.Equal(Tool.Run([.. prompt, Dense]).Json["ids"]!.ToJsonString(), Tool.Run([.. prompt, mixture]).Json["ids"]!.ToJsonString());

        Tool.Run("upcycle", Dense, "--out", mixture).RequireError("already holds a model", "--overwrite");
        Outcome groups = Tool.Run("upcycle", Dense, "--out", mixture, "--granularity", "2", "--overwrite", "--add", "zero:2,constant", "--every", "2");
        Assert.Contains("groups: ", groups.Output, StringComparison.Ordinal);
        Assert.Contains("\"method\": \"groups\"", File.ReadAllText(Path.Combine(mixture, "upcycle.json")), StringComparison.Ordinal);
        Tool.Run("upcycle", mixture, "--out", _folder["twice"]).RequireError("it is not dense, there are experts already in layer 1");
        Assert.False(Directory.Exists(_folder["twice"]));
    }

    /// <summary>What each option says is in the new model's config.json, or in the receipt.</summary>
    [Theory]
    [InlineData("--experts 3 --top-k 1 --balance-loss 0.5 --router-std 0.5 --seed 7",
        "num_local_experts:3", "num_experts_per_tok:1", "router_aux_loss_coef:0.5", "drawn:normal,mean0,deviation0.5", "seed:7", "method:copy", "family:mixtral")]
    [InlineData("--router-top-p 0.5 --weights raw --every 3", "layers:[{type:dense,", "},{type:moe,router:{type:top_p,top_p:0.5,", "renormalize:false", "every:3")]
    [InlineData("--family moe_from_scratch --router zeros --add zero:2,copy", "family:moe_from_scratch", "drawn:0everywhere", "{type:copy,count:1},{type:zero,count:2}")]
    [InlineData("--method random --experts 7 --top-k 3 --score-scale 1.5 --gate linear", "num_experts:7", "num_selects:3", "score_scale_factor:1.5", "gate_network:linear", "method:random")]
    [InlineData("--granularity 2 --experts 3 --top-k 4 --scaling none --weights renormalized", "top_k:4,renormalize:true", "intermediate_size:56,", "count:6}", "!,times:")]
    [InlineData("--scaling paper --granularity 2", "top_k:2,renormalize:false", "count:4}", ",times:1.587401")]     // (2 · 2² / 2)^⅓
    [InlineData("--dynamic_mlp_size_factor 7 --experts 2 --top-k 1 --add shared:1 --fixed_mlp_size_factor 14 --moe_copy none",
        "top_p:0,top_k:1,", "intermediate_size:16,", "count:2}", "intermediate_size:8,", "shared:true,count:1}", "!columns:")]
    [InlineData("--method slices --router-top-p 0.3", "type:dcmoe,top_p:0.3,top_k:0", "columns:2.experts.3", "2.experts.3:84-111")]
    [InlineData("--shared-neurons 16 --experts 3", "method:importance", "intermediate_size:32,", "{type:shared,intermediate_size:16,", "hidden_size:3,")]
    public void EveryOptionReachesTheModel(string options, params string[] parts)
    {
        string mixture = _folder["mixture"];
        Outcome run = Tool.Run(["upcycle", Dense, "--out", mixture, .. options.Split(' ')]);
        Assert.True(run.ExitCode == 0, run.Error);
        string written = string.Concat(new[] { "config.json", "upcycle.json" }.Select(file => File.ReadAllText(Path.Combine(mixture, file))).SelectMany(static text => text)
            .Where(static c => c != '"' && !char.IsWhiteSpace(c)));
        foreach (string part in parts)
            if (part.StartsWith('!'))
                Assert.DoesNotContain(part[1..], written, StringComparison.Ordinal);
            else
                Assert.Contains(part, written, StringComparison.Ordinal);
    }

    [Fact]
    public void FilesReachTheModel()
    {
        string labels = $"[{string.Join(',', Enumerable.Range(0, 112).Select(static i => i % 2))}]", neurons = _folder.Write("neurons.json", $"[{labels},{labels},{labels}]");
        JsonObject summary = Tool.Run("upcycle", Dense, "--out", _folder["even"], "--neurons", neurons, "--router", "zeros", "--json").Json;
        Assert.Equal("neurons", (string)summary["method"]!);
        Assert.Contains("0,2,4,6", File.ReadAllText(Path.Combine(_folder["even"], "upcycle.json")), StringComparison.Ordinal);
        string[] copy = ["upcycle", Dense, "--experts", "4", "--out"];
        Assert.Equal(0, Tool.Run([.. copy, _folder["a"], "--seed", "1"]).ExitCode);
        Assert.Equal(0, Tool.Run([.. copy, _folder["b"], "--seed", "2"]).ExitCode);
        Assert.Equal(0, Tool.Run([.. copy, _folder["c"], "--seed", "2", "--router", Path.Combine(_folder["a"], "model.safetensors")]).ExitCode);
        Assert.NotEqual(Weights("a"), Weights("b"));
        Assert.Equal(Weights("a"), Weights("c"));
        Tool.Run([.. copy, _folder["d"], "--sample-text", neurons]).RequireError("--sample-text", "neurons.json", "no tokenizer");

        byte[] Weights(string name) => File.ReadAllBytes(Path.Combine(_folder[name], "model.safetensors"));
    }

    [Theory]
    [InlineData("there is no --method halves", "--method", "halves")]
    [InlineData("--granularity goes with --method groups, not with copy", "--method", "copy", "--granularity", "2")]
    [InlineData("--moe_copy goes with --method slices, not with groups", "--method", "groups", "--moe_copy", "all")]
    [InlineData("--score-scale goes with --method random or clusters or importance or neurons, not with copy", "--score-scale", "2")]
    [InlineData("--moe_copy is all or single or none, not 'some'", "--moe_copy", "some")]
    [InlineData("not by both", "--top-k", "2", "--router-top-p", "0.5")]
    [InlineData("--fixed_mlp_size_factor is for shared experts", "--fixed_mlp_size_factor", "2")]
    [InlineData("there are ffn, mlp", "--add", "free:2")]
    [InlineData("--router takes normal, zeros or a safetensors file", "--router", "nothing.safetensors")]
    [InlineData("--router-std goes with --router normal", "--router", "zeros", "--router-std", "1")]
    [InlineData("there is no family 'mistral'", "--family", "mistral")]
    [InlineData("--family llama-moe", "--family", "llama-moe")]
    [InlineData("--top-k must lie between 1 and the number of experts 8, not be 9", "--top-k", "9")]
    [InlineData("--top-k must lie between 1 and the number of experts 4, not be 5", "--method", "slices", "--top-k", "5", "--add", "shared:2")]
    [InlineData("--top-k must lie between 1 and the number of experts 8, not be 9", "--method", "random", "--top-k", "9")]
    [InlineData("does not divide the", "--method", "random", "--experts", "1001")]
    [InlineData("name it with --neurons", "--method", "neurons")]
    [InlineData("--experts: a mixture has 1 to 65536 experts, not 1000000000", "--experts", "1000000000")]
    [InlineData("--experts: a mixture has 1 to 65536 experts", "--method", "slices", "--experts", "1000000000")]
    [InlineData("--experts times --granularity: a mixture has 1 to 65536 experts, not 4000000000", "--method", "groups", "--experts", "1000000000")]
    [InlineData("--add ffn:1000000000: a mixture has 1 to 65536 experts", "--add", "ffn:1000000000")]
    [InlineData("--router-top-p must be above 0 and at most 1, not 3", "--router-top-p", "3")]
    [InlineData("--router-top-p must be above 0 and at most 1, not 0", "--router-top-p", "0")]
    [InlineData("--every must be above 0", "--every", "0")]
    public void AMistakeIsOneLine(string because, params string[] options)
    {
        Tool.Run(["upcycle", Dense, "--out", _folder["out"], .. options]).RequireError(because);
        Assert.False(Directory.Exists(_folder["out"]));
    }
}
