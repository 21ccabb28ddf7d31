namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>Whether the tests of this project run at all.</summary>
public sealed class PackageTests
{
#if ILGPU
    [Fact]
    public void ThePackageIsHere() => Assert.Equal("1.5.3.0", typeof(ILGPU.Context).Assembly.GetName().Version!.ToString());
#else
    [Fact(Skip = "the package ILGPU was on no package source")]
    public void ThePackageIsHere()
    {
    }
#endif
}
