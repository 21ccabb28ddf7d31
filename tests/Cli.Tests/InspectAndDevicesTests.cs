using System.Text.Json.Nodes;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

public sealed class InspectAndDevicesTests
{
    [Fact]
    public void CountsParametersTotalAndActive()
    {
        // Attention 2·48·48 + 2·24·48, per expert 3·56·48, router 4·48, two norms; embedding and output 96·48 each.
        const long Layer = 2 * 48 * 48 + 2 * 24 * 48 + 4 * 48 + 2 * 48, Expert = 3 * 56 * 48, Ends = 2 * 96 * 48 + 48;
        JsonObject json = Tool.Run("inspect", Golden.Folder("mixtral"), "--json").Json;
        Assert.Equal(3 * (Layer + 4 * Expert) + Ends, (long)json["parameters_total"]!);
        Assert.Equal(3 * (Layer + 2 * Expert) + Ends, (long)json["parameters_active_min"]!);
        Assert.Equal((long)json["parameters_active_min"]!, (long)json["parameters_active_max"]!);
        Assert.Equal("top-2, renormalised", (string?)json["router"]);
        JsonObject experts = json["classes"]!.AsArray().Single(static c => (string?)c!["name"] == "experts")!.AsObject();
        Assert.Equal(3 * 4 * Expert, (long)experts["parameters"]!);
        Assert.Equal(36, (int)experts["tensors"]!);
    }

    /// <summary>Two of six experts: in each layer all matrices and biases of four are idle.</summary>
    [Theory]
    [InlineData("granitemoe", 3, 3 * 40 * 48)]
    [InlineData("gpt-oss", 2, (40 + 1) * 56 + (28 + 1) * 40)]
    public void StackedExpertsAreCountedOneByOne(string golden, int layers, long expert)
    {
        JsonObject json = Tool.Run("inspect", Golden.Folder(golden), "--json").Json;
        Assert.Equal(layers * 4 * expert, (long)json["parameters_total"]! - (long)json["parameters_active_max"]!);
        Assert.Equal((long)json["parameters_active_min"]!, (long)json["parameters_active_max"]!);
    }

    [Fact]
    public void TextReportNamesTheFamily() =>
        Assert.Contains("dynamic-moe", Tool.Run("inspect", Golden.Folder("dynamic-moe")).Output, StringComparison.Ordinal);

    [Fact]
    public void DevicesSaysWhatIsThereAndWhyNot()
    {
        Outcome run = Tool.Run("devices", "--json");
        JsonArray devices = JsonNode.Parse(run.Output)!.AsArray();
        Assert.Equal(["cpu", "reference", "cuda", "opencl", "ilgpu-cpu"], devices.Select(static d => ((string)d!["name"]!).Split(':')[0]).Distinct());
        Assert.All(devices, static d => Assert.NotEmpty((string)d!["description"]!));
        Assert.True((bool)devices[0]!["available"]!);
    }

    [Theory]
    [InlineData("cuda:999", "device cuda:999: ")]
    [InlineData("cuda:one", "there is no device 'cuda:one'")]
    [InlineData("ilgpu-cpu:1", "device ilgpu-cpu:1: ")]
    public void ADeviceThatIsNotThereIsRefusedInOneSentence(string device, string reason) =>
        Tool.Run("generate", "a", "--device", device).RequireError(reason);

    [Theory]
    [InlineData("generate")]
    [InlineData("train")]
    [InlineData("trace")]
    [InlineData("inspect")]
    [InlineData("devices")]
    [InlineData("extract")]
    [InlineData("bench")]
    public void EveryVerbHasHelp(string verb)
    {
        Outcome run = Tool.Run(verb, "--help");
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("Usage:", run.Output, StringComparison.Ordinal);
        Assert.Contains("--json", run.Output, StringComparison.Ordinal);
    }
}
