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

    [Theory]
    [InlineData("there is no --method halves", "--method", "halves")]
    [InlineData("--granularity goes with --method groups, not with copy", "--method", "copy", "--granularity", "2")]
    [InlineData("--moe_copy goes with --method slices, not with groups", "--method", "groups", "--moe_copy", "all")]
    [InlineData("--score-scale goes with --method random or clusters or importance or neurons, not with copy", "--score-scale", "2")]
    [InlineData("--moe_copy is all or none, not 'some'", "--moe_copy", "some")]
    [InlineData("not by both", "--top-k", "2", "--router-top-p", "0.5")]
    [InlineData("--fixed_mlp_size_factor is for shared experts", "--fixed_mlp_size_factor", "2")]
    [InlineData("there are ffn, mlp", "--add", "free:2")]
    [InlineData("--router takes normal, zeros or a safetensors file", "--router", "nothing.safetensors")]
    [InlineData("--router-std goes with --router normal", "--router", "zeros", "--router-std", "1")]
    [InlineData("there is no family 'mistral'", "--family", "mistral")]
    [InlineData("--family llama-moe", "--family", "llama-moe")]
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
