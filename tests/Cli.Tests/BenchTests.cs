using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Gpu;

namespace MoeFromScratch.Cli.Tests;

public sealed class BenchTests
{
    private static readonly string[] Short = ["--rounds", "3", "--prompt-tokens", "12", "--max-new-tokens", "3"];

    /// <summary>Of a decoding step all matrices are read but the embedding's, and of the experts those that run: top-2 of 4 here.</summary>
    [Fact]
    public void CountsWhatIsMeasuredAndWhatIsRead()
    {
        const int Layer = 2 * 48 * 48 + 2 * 24 * 48 + 4 * 48 + 2 * 48, Expert = 3 * 56 * 48, Output = 96 * 48 + 48;
        const double Bytes = sizeof(float) * (3.0 * (Layer + 2 * Expert) + Output);
        JsonObject json = Tool.Run(["bench", Golden.Folder("mixtral"), "--json", .. Short]).Json;
        Assert.Equal(
            ["load_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "train_tokens_per_s", "gemm_gflops", "gemm_share_of_peak", "moe_layer_gflops",
                "decode_gb_per_s", "read_bandwidth_gb_per_s", "peak_rss_bytes"],
            json.Select(static p => p.Key));
        Assert.All(json, static p => Assert.True((double)p.Value! > 0, p.Key));
        Assert.Equal(Bytes, 1e9 * (double)json["decode_gb_per_s"]! / (double)json["decode_tokens_per_s"]!, 0.002 * Bytes);
        Assert.InRange((double)json["gemm_share_of_peak"]!, 0.01, 100);   // both are measured, on a machine that may be busy with something else
    }

    [Fact]
    public void TheTableShowsWhereTheTimeGoes()
    {
        Outcome run = Tool.Run(["bench", .. Short]);
        Assert.True(run.ExitCode == 0, run.Error);
        foreach (string part in new[] { "multiply-add", "MoE layer", "built-in", "load, the first in this process", "decode, 3 tokens from 12 on", "GatedExperts", "Linear, attention" })
            Assert.Contains(part, run.Output, StringComparison.Ordinal);
    }

    /// <summary>On a device launches are counted; the limits of the cpu have no place there.</summary>
    [Fact]
    public void OnADeviceLaunchesAreCounted()
    {
        Outcome run = Tool.Run("bench", Golden.Folder("mixtral"), "--device", "ilgpu-cpu", "--json");
        if (!GpuDevices.List().Single(static d => d.Name == "ilgpu-cpu").Available)
        {
            run.RequireError("device ilgpu-cpu: built without the package ILGPU");
            return;
        }
        Assert.Equal(
            ["load_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "launches_per_token", "launches_per_token_and_layer", "host_crossings_per_token", "precision", "copy_gb_per_s", "gemm_gflops",
                "decode_gb_per_s", "peak_rss_bytes"],
            run.Json.Select(static p => p.Key));
        Assert.InRange((double)run.Json["launches_per_token_and_layer"]!, 1, 12);
        Assert.Equal((double)run.Json["launches_per_token"]!, 3 * (double)run.Json["launches_per_token_and_layer"]! + GpuCounts.OutsideOfLayers(hasExperts: true), 0.01);
        Assert.Equal(1, (double)run.Json["host_crossings_per_token"]!);      // the token
    }

    [Fact]
    public void ADeviceThatIsNotThereIsRefused() => Tool.Run("bench", "--device", "cuda:999").RequireError("device cuda:999: ");

    /// <summary>Positions that the model never saw would be a figure of no use.</summary>
    [Theory]
    [InlineData("--prompt-tokens 250 and --max-new-tokens 7 are together more than the model's context of 256", "--prompt-tokens", "250", "--max-new-tokens", "7")]
    [InlineData("--prompt-tokens 256 and --max-new-tokens 1 are together", "--prompt-tokens", "256")]
    [InlineData("--prompt-tokens 1 and --max-new-tokens 256 are together", "--max-new-tokens", "256")]
    [InlineData("--prompt-tokens 2147483647 and", "--prompt-tokens", "2147483647")]
    public void MoreThanTheContextIsRefused(string because, params string[] options) => Tool.Run(["bench", "--rounds", "1", .. options]).RequireError(because);

    [Fact]
    public void NothingIsNotMeasured() => Tool.Run("bench", "--rounds", "0").RequireError("must be above 0");
}
