using System.Text.RegularExpressions;
using MoeFromScratch.Gpu.Tests;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>Kernels as ILGPU compiles them for CUDA: that it takes them all, and that those that take the time are not spoilt.</summary>
public sealed partial class PtxTests
{
    public static TheoryData<string> Names => [.. Kernels.All.Select(static t => t.Name)];

    /// <summary>
    /// No kernel calls a method that was not inlined, keeps an array of its own outside of registers, or reads and writes without knowing
    /// which memory: any of these is many times slower, and inline PTX would get an address of another kind. And none turns a truth value into a float by way of an integer (c ? 1 : 0): ILGPU
    /// gives the float of which the bits are 1. Nor was a load moved behind a store or a barrier (<see cref="Placement"/>).
    /// </summary>
    [Theory, MemberData(nameof(Names))]
    public void EveryKernelCompilesToStraightCode(string name)
    {
        Type[] kernels = [.. Kernels.Closed(Kernels.All.Single(t => t.Name == name))];
        Assert.NotEmpty(kernels);
        foreach ((Type kernel, (string ptx, string[] sunk)) in kernels.Zip(Kernels.Compiled(kernels)))
        {
            Assert.True(sunk.Length == 0, $"{kernel}: {string.Join("; ", sunk)}");
            Match spoilt = Spoilt().Match(ptx);
            Assert.False(spoilt.Success, $"{kernel}: {spoilt.Value}");
        }
    }

    /// <summary>Weights in blocks are one struct more to the kernels, and no less straight.</summary>
    [Theory]
    [InlineData(typeof(LinearsKernel<Q8>))]
    [InlineData(typeof(ProductKernel<DenseRows, PlainInput, Q8>))]
    [InlineData(typeof(RowsProductKernel<PlainInput, Q8>))]
    [InlineData(typeof(HiddenUnitsKernel<Silu, Q8>))]
    [InlineData(typeof(ExpertOutputsKernel<Q8>))]
    public void WeightsInBlocksCompileToStraightCode(Type kernel)
    {
        (string ptx, string[] sunk) = Kernels.Compiled([kernel]).Single();
        Assert.Empty(sunk);
        Assert.DoesNotMatch(Spoilt(), ptx);
    }

    /// <summary>Weights and rows of x that lie at multiples of 16 bytes: four elements with each load.</summary>
    [Fact]
    public void ProductsLoadFourElementsAtOnce()
    {
        foreach ((Type type, string load) in new[] { (typeof(F32), "v4.f32"), (typeof(BF16), "v4.b16"), (typeof(F16), "v4.b16") })
            foreach ((Type kernel, int weights, int rows) in new[]
            {
                (typeof(ProductKernel<,,>).MakeGenericType(typeof(DenseRows), typeof(PlainInput), type), 1, 1),
                (typeof(ProductKernel<,,>).MakeGenericType(typeof(ExpertRows), typeof(GatheredInput), type), 1, 1),
                (typeof(ProductKernel<,,>).MakeGenericType(typeof(ExpertRows), typeof(GatedInput<Silu>), type), 1, 2),
                (typeof(RowsProductKernel<,>).MakeGenericType(typeof(PlainInput), type), 1, 1),
                (typeof(RowsProductKernel<,>).MakeGenericType(typeof(GatheredInput), type), 1, 1),
                (typeof(LinearsKernel<>).MakeGenericType(type), 4, 4 * 8),
                (typeof(HiddenUnitsKernel<,>).MakeGenericType(typeof(Silu), type), 2, 2),
                (typeof(ExpertOutputsKernel<>).MakeGenericType(type), 1, 1),
            })
            {
                string ptx = Kernels.Ptx([kernel]).Single();
                int floats = Count(ptx, "ld.global.v4.f32"), all = type == typeof(F32) ? floats : floats + Count(ptx, $"ld.global.{load}");
                Assert.True(all >= weights + rows && floats >= rows, $"{kernel}: {floats} loads of four floats, {all} of four elements");
            }
    }

    /// <summary>Both matrices of a weight's gradient are rows of activations.</summary>
    [Theory, InlineData(typeof(PlainInput), 1), InlineData(typeof(GatheredInput), 1), InlineData(typeof(GatedInput<Silu>), 2)]
    public void GradientsOfWeightsLoadFourElementsAtOnce(Type input, int loads)
    {
        string ptx = Kernels.Ptx([typeof(WeightGradKernel<>).MakeGenericType(input)]).Single();
        Assert.True(Count(ptx, "ld.global.v4.f32") >= 1 + loads);
    }

    /// <summary>Two loads for sixteen products, and these as pairs that the assembler makes one instruction of; results are stored by fours.</summary>
    [Theory, InlineData(typeof(ProductKernel<DenseRows, PlainInput, F32>)), InlineData(typeof(RowsProductKernel<PlainInput, F32>)), InlineData(typeof(WeightGradKernel<PlainInput>))]
    public void TilesAreReadFourFloatsAtOnce(Type kernel)
    {
        string ptx = Kernels.Ptx([kernel]).Single();
        Assert.Equal(2, Count(ptx, "ld.shared.v4.f32"));
        Assert.Equal(0, Count(ptx, "ld.shared.f32"));
        string inner = ptx[ptx.IndexOf("ld.shared.v4.f32", StringComparison.Ordinal)..];
        inner = inner[..inner.IndexOf("bra", StringComparison.Ordinal)];
        Assert.Equal(16, Count(inner, "mul.f32"));
        Assert.Equal(16, Count(inner, "add.f32"));
        Assert.True(Count(ptx, "st.global.v4.f32") >= 4);
    }

    /// <summary>
    /// Attention in tiles, forward and back: loads from shared memory are two for the scores' sixteen products, two for the slopes', and three for
    /// thirty-two of the sums.
    /// </summary>
    [Fact]
    public void AttentionReadsFourFloatsAtOnce()
    {
        foreach ((Type kernel, int products) in new[]
        {
            (typeof(ManyQueriesKernel<F32>), 1),
            (typeof(AttentionGradKernel<QueryGradient>), 2),
            (typeof(AttentionGradKernel<KeyGradient>), 2),
            (typeof(AttentionGradKernel<ValueGradient>), 1),
        })
        {
            string ptx = Kernels.Ptx([kernel]).Single();
            Assert.Equal(2 * products + 3, Count(ptx, "ld.shared.v4.f32"));
            Assert.Equal(0, Count(ptx, "ld.shared.f32"));
            Assert.Equal(2 * products + 2, Count(ptx, "ld.global.v4.f32"));
        }
    }

    private static int Count(string ptx, string instruction) => Regex.Count(ptx, Regex.Escape(instruction) + @"\s");

    [GeneratedRegex(@"\.local|\bcvta\.shared\b|\bcall\b|\b(ld|st)(\.v[24])?\.[bfsu]\d.*|\bselp\.b32\s+%f\d+, 0f00000001,.*")]
    private static partial Regex Spoilt();
}
