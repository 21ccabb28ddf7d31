using System.Globalization;
using System.Text.RegularExpressions;
using MoeFromScratch.Gpu.Ladder;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>The rungs as they are compiled: what is counted of them is what stands there.</summary>
public sealed partial class LadderPtxTests
{
    /// <summary>The innermost loop has the loads and the products of one k, and nothing is shared or waited for beyond what is said.</summary>
    [Theory]
    [InlineData(1, typeof(Rung1Naive<F32>), "ld.global.f32", 0)]
    [InlineData(2, typeof(Rung2Tiled<F32>), "ld.shared.f32", 2)]
    [InlineData(3, typeof(Rung3Blocked<F32>), "ld.shared.f32", 2)]
    [InlineData(4, typeof(Rung4Vectors<F32>), "ld.shared.v4.f32", 1)]
    public void CountsAreThoseOfTheCode(int number, Type kernel, string load, int barriers)
    {
        Rung rung = Rung.All[number - 1];
        string ptx = Kernels.Ptx([kernel]).Single();
        string loop = Label().Split(ptx).Single(static block => block.Contains("mul.f32", StringComparison.Ordinal));
        Assert.Equal(rung.Products, Count(loop, "mul.f32"));
        Assert.Equal(rung.Products, Count(loop, "add.f32"));
        Assert.Equal(rung.Loads, Count(loop, load));
        Assert.Equal(rung.Loads, Count(loop, "ld."));
        Assert.Equal(0, Count(loop, "st."));
        Assert.Equal(barriers, Count(ptx, "bar.sync"));
        Assert.Equal(rung.SharedBytes, Shared().Matches(ptx).Sum(static m => int.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture)));
    }

    /// <summary>Of both matrices, before the loop and within it; and the results go back by fours.</summary>
    [Theory]
    [InlineData(typeof(Rung4Vectors<F32>), "ld.global.v4.f32", 4)]
    [InlineData(typeof(Rung4Vectors<BF16>), "ld.global.v4.b16", 2)]
    [InlineData(typeof(Rung4Vectors<F16>), "ld.global.v4.b16", 2)]
    public void VectorsAreMovedAsSuch(Type kernel, string load, int loads)
    {
        string ptx = Kernels.Ptx([kernel]).Single();
        Assert.Equal(loads, Count(ptx, load));
        Assert.Equal(4, Count(ptx, "ld.global.v4"));
        Assert.Equal(16, Count(ptx, "st.global.v4.f32"));
    }

    private static int Count(string ptx, string instruction) => Regex.Count(ptx, @"\s" + Regex.Escape(instruction));

    [GeneratedRegex(@"^\s*L_\d+:", RegexOptions.Multiline)]
    private static partial Regex Label();

    [GeneratedRegex(@"\.shared .*\[(\d+)\];")]
    private static partial Regex Shared();
}
