using System.Text.Json.Nodes;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

public sealed class ConvertTests : IDisposable
{
    private readonly Folder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Folder → GGUF → folder, each checked, and the file runs wherever a folder does.</summary>
    [Fact]
    public void AModelGoesThereAndBack()
    {
        string source = Golden.Folder("mixtral"), file = _folder["m.gguf"], back = _folder["back"];
        JsonObject there = Tool.Run("convert", source, file, "--json").Json;
        Assert.Equal((60, 0, true, 0f), ((int)there["tensors"]!, there["missing"]!.AsArray().Count, (bool)there["sample"]!["greedy_agree"]!, (float)there["sample"]!["max_difference"]!));
        Assert.Equal("mixtral", (string)Tool.Run("inspect", file, "--json").Json["family"]!);
        Tool.Run("convert", source, file).RequireError("is there already; replace it with --overwrite");
        Assert.Equal(0, Tool.Run("convert", file, back).ExitCode);
        string[] prompt = ["generate", "--prompt-ids", "28,19,95,11,24", "--greedy", "--max-new-tokens", "8", "--json", "-m"];
        Assert.Equal("[23,24,23,24,66,66,66,6]", Tool.Run([.. prompt, file]).Json["ids"]!.ToJsonString());
        Assert.Equal("[23,24,23,24,66,66,66,6]", Tool.Run([.. prompt, back]).Json["ids"]!.ToJsonString());
        Assert.Equal(["back", "m.gguf"], Directory.EnumerateFileSystemEntries(Path.GetDirectoryName(file)!).Select(static p => Path.GetFileName(p)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void AFolderChangesItsType()
    {
        string half = _folder["half"];
        JsonObject report = Tool.Run("convert", Golden.Folder("olmoe"), half, "--to", "bf16", "--json").Json;
        Assert.InRange((float)report["sample"]!["max_difference"]!, 1e-6f, 0.2f);
        Assert.Equal("bfloat16", (string)JsonNode.Parse(File.ReadAllText(Path.Combine(half, "config.json")))!["torch_dtype"]!);
        Tool.Run("convert", half, _folder["q"], "--to", "Q8_0").RequireError("safetensors files hold F32, F16 and BF16, not Q8_0", ".gguf");
        Tool.Run("convert", half, _folder["x.gguf"], "--to", "Q5_K").RequireError("--to takes F32, F16, BF16, Q8_0, Q4_0, not 'Q5_K'");
        Tool.Run("convert", half, half).RequireError("is the source");
        Tool.Run("convert", half, Path.GetDirectoryName(half)!, "--overwrite").RequireError("holds the source");     // which would go with what was there
        Assert.Equal(0, Tool.Run("convert", Golden.Folder("mixtral"), half, "--overwrite").ExitCode);
        Assert.Equal("mixtral", (string)Tool.Run("inspect", half, "--json").Json["family"]!);
    }

    /// <summary>What stands beside the target under the names that a conversion uses for a while is not its own to remove.</summary>
    [Theory]
    [InlineData("out", "out.part")]
    [InlineData("out", "out.old")]
    [InlineData("out.gguf", "out.part.gguf")]
    public void WhatIsBesideTheTargetStays(string target, string beside)
    {
        Directory.CreateDirectory(_folder[beside]);
        string mine = Path.Combine(_folder[beside], "mine.txt");
        File.WriteAllText(mine, "kept");
        Tool.Run("convert", Golden.Folder("mixtral"), _folder[target]).RequireError($"{beside} is in the way");
        Assert.Equal("kept", File.ReadAllText(mine));
        Assert.Equal([beside], Directory.EnumerateFileSystemEntries(_folder.Path).Select(static p => Path.GetFileName(p)));
    }

    /// <summary>The built-in model is of a family that GGUF does not know.</summary>
    [Fact]
    public void WhatCannotBeSaidIsRefusedInOneLine() =>
        Tool.Run("convert", Path.Combine(AppContext.BaseDirectory, "built-in"), _folder["b.gguf"]).RequireError("GGUF files of dynamic-moe models are not supported");

    /// <summary>In every verb, a place that an empty variable of a shell left without a name is said to be that.</summary>
    [Theory]
    [InlineData("OUT", "convert", "a", "")]
    [InlineData("SOURCE", "convert", "", "b")]
    [InlineData("--text", "eval", "--text", "")]
    [InlineData("--model", "train", "--out", "a", "--model", "")]
    [InlineData("--neurons", "upcycle", "a", "--out", "b", "--neurons", "")]
    [InlineData("--out", "upcycle", "a", "--out", "")]
    [InlineData("--ids-file", "trace", "a", "--out", "b", "--ids-file", "")]
    public void AnEmptyNameIsNoPlace(string what, params string[] args) => Tool.Run(args).RequireError($"moe: {what} '' is no folder or file");
}
