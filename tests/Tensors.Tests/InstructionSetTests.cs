using System.Runtime.Intrinsics;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>
/// A run that means to test a vector unit, or its absence, says so in MOE_EXPECT_ISA (avx512, avx2, sse, scalar), because
/// a misspelt DOTNET_ switch is silently ignored.
/// </summary>
public sealed class InstructionSetTests
{
    [Fact]
    public void The_machine_runs_what_the_test_run_expects()
    {
        string? expected = Environment.GetEnvironmentVariable("MOE_EXPECT_ISA");
        Assert.Equal(expected is null or "" ? Actual() : expected, Actual());
    }

    [Fact]
    public void The_backend_takes_the_widest_vectors()
    {
        int lanes = Actual() switch { "avx512" => 16, "avx2" => 8, _ => 4 };
        Assert.EndsWith($" {lanes} lanes", CpuBackend.Instructions, StringComparison.Ordinal);
        using IBackend backend = CpuBackend.Create(threads: 1);
        Assert.Contains($"`1[MoeFromScratch.Tensors.Lanes{lanes}]", backend.GetType().ToString(), StringComparison.Ordinal);
    }

    private static string Actual() =>
        Vector512.IsHardwareAccelerated ? "avx512"
        : Vector256.IsHardwareAccelerated ? "avx2"
        : Vector128.IsHardwareAccelerated ? "sse"
        : "scalar";
}
