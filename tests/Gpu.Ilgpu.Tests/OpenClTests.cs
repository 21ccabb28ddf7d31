using System.Text.RegularExpressions;
using MoeFromScratch.Gpu.Ladder;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>Kernels as ILGPU writes them in OpenCL C: that it takes them all for a device that has what <c>moe devices</c> asks for, and no more.</summary>
public sealed partial class OpenClTests
{
    /// <summary>All but the ladder's upper rungs, which are written for CUDA.</summary>
    public static TheoryData<string> Names => [.. Kernels.All.Where(static t => t != typeof(Rung5AsyncCopies<>) && t != typeof(Rung6TensorCores<,>)).Select(static t => t.Name)];

    [Theory, MemberData(nameof(Names))]
    public void EveryKernelIsWrittenWithoutHalvesAndWideAtomics(string name)
    {
        foreach (string source in Kernels.OpenCl(Kernels.Closed(Kernels.All.Single(t => t.Name == name))))
        {
            Assert.Contains("kernel void", source, StringComparison.Ordinal);
            Match half = Half().Match(source);
            Assert.False(half.Success, half.Value);
        }
    }

    [GeneratedRegex(@"\bhalf\d*\b|atom_")]
    private static partial Regex Half();
}
