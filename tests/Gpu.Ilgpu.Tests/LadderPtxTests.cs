using System.Globalization;
using System.Text.RegularExpressions;
using MoeFromScratch.Gpu.Ladder;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>The rungs as they are compiled: what is counted of them is what stands there.</summary>
public sealed partial class LadderPtxTests
{
    /// <summary>The innermost loop has the loads and the products of one k (or of some), and nothing is shared or waited for beyond what is said.</summary>
    [Theory]
    [InlineData(1, typeof(Rung1Naive<F32>), "ld.global.f32", 0)]
    [InlineData(2, typeof(Rung2Tiled<F32>), "ld.shared.f32", 2)]
    [InlineData(3, typeof(Rung3Blocked<F32>), "ld.shared.f32", 2)]
    [InlineData(4, typeof(Rung4Vectors<F32>), "ld.shared.v4.f32", 1)]
    [InlineData(5, typeof(Rung5AsyncCopies<F32>), "ld.shared.v4.f32", 1, 4)]
    public void CountsAreThoseOfTheCode(int number, Type kernel, string load, int barriers, int ofK = 1)
    {
        Rung rung = Rung.All[number - 1];
        string ptx = Kernels.Ptx([kernel]).Single();
        string loop = Label().Split(ptx).Single(static block => block.Contains("mul.f32", StringComparison.Ordinal));
        Assert.Equal(ofK * rung.Products, Count(loop, "mul.f32"));
        Assert.Equal(ofK * rung.Products, Count(loop, "add.f32"));
        Assert.Equal(ofK * rung.Loads, Count(loop, load));
        Assert.Equal(ofK * rung.Loads, Count(loop, "ld."));
        Assert.Equal(0, Count(loop, "st."));
        Assert.Equal(barriers, Count(ptx, "bar.sync"));
        Assert.Equal(rung.SharedBytes, Shared().Matches(ptx).Sum(static m => int.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture)));
    }

    /// <summary>Tiles pass by the registers: two before the loop and one within it, of each matrix; and tensor cores multiply in eight parts.</summary>
    [Theory]
    [InlineData(5, typeof(Rung5AsyncCopies<F32>), "")]
    [InlineData(6, typeof(Rung6TensorCores<F32, Tf32Core>), "m16n8k8.row.col.f32.tf32.tf32.f32")]
    [InlineData(7, typeof(Rung6TensorCores<BF16, Bf16Core>), "m16n8k16.row.col.f32.bf16.bf16.f32")]
    public void TilesAreCopiedAsynchronously(int number, Type kernel, string multiply)
    {
        string ptx = Kernels.Ptx([kernel]).Single();
        Assert.Equal(2 * 3, Regex.Count(ptx, @"cp\.async\.c[ag]\.shared\.global"));
        Assert.Equal(3, Count(ptx, "cp.async.commit_group"));
        Assert.Equal(1, Count(ptx, "cp.async.wait_group 1"));
        Assert.Equal(0, Count(ptx, "st.shared"));
        Assert.Equal(0, Count(ptx, "cvta.shared"));                     // the copies' addresses are of shared memory
        Assert.Equal(multiply.Length > 0 ? 8 : 0, Count(ptx, "mma.sync.aligned." + multiply));
        Assert.Equal(Rung.All[number - 1].SharedBytes, Shared().Matches(ptx).Sum(static m => int.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture)));
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
