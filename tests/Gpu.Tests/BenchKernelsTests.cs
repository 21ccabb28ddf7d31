using MoeFromScratch.Bench.Gpu;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>What the device's benchmark times, once, with every check on: a benchmark that nobody can run here must at least be right.</summary>
public sealed class BenchKernelsTests
{
    [Fact]
    public void EveryKernelOfTheBenchmarkRuns()
    {
        using GpuBackend backend = Devices.Create();
        List<string> names = [];
        int live = backend.LiveBuffers;
        foreach (Func<Bed, IEnumerable<Kernel>> group in KernelGroups.Ceilings(Sizes.Small).Concat(KernelGroups.All(Sizes.Small)))
        {
            using Bed bed = new(backend);
            foreach (Kernel kernel in group(bed))
            {
                kernel.Run();
                Assert.True(kernel.Bytes > 0 && kernel.Flops >= 0, kernel.Name);
                names.Add(kernel.Name);
            }
        }
        Assert.Equal(live, backend.LiveBuffers);
        Assert.Equal(names.Count, names.Distinct().Count());
        Assert.True(names.Count > 30);
    }

    /// <summary>OpenCL, ILGPU's simulation and CUDA before sm_80 have no asynchronous copies and no tensor cores to time.</summary>
    [Theory, InlineData(true, 7), InlineData(false, 4)]
    public void OnlyTheRungsThatADeviceHasAreTimed(bool hasTensorCores, int rungs)
    {
        using GpuBackend backend = Devices.Create(hasTensorCores: hasTensorCores);
        int timed = 0;
        foreach (Func<Bed, IEnumerable<Kernel>> group in KernelGroups.Ceilings(Sizes.Small))
        {
            using Bed bed = new(backend);
            timed += group(bed).Count(static k => k.Name.StartsWith("rung", StringComparison.Ordinal));
        }
        Assert.Equal(rungs, timed);
    }

    /// <summary>The roofline: a copy is held against the memory, a product of large matrices against the arithmetic.</summary>
    [Fact]
    public void TheLeastTimeIsWhatTheScarcerThingTakes()
    {
        Ceilings device = new(Bytes: 100, Flops: 1000);
        Assert.Equal(2, device.Least(new Kernel("copy", 200, 0, static () => { })));
        Assert.Equal(3, device.Least(new Kernel("product", 200, 3000, static () => { })));
    }

    [Fact]
    public void CeilingsAreThoseOfTheCopyAndOfProductsThatRoundLikewise()
    {
        Kernel copy = new("copy", 100, 0, Nothing), exact = new("exact", 1, 60, Nothing), rounded = new("bf16", 1, 900, Nothing) { Precision = Precision.Bf16 };
        Ceilings ceilings = Ceilings.Of([(copy, 2), (exact, 3), (exact, 4), (rounded, 10), (rounded, 9)]);
        Assert.Equal(new Ceilings(50, 20, 0, 100), ceilings);
        Assert.Equal(2, ceilings.Least(copy));
        Assert.Equal(3, ceilings.Least(exact));
        Assert.Equal(9, ceilings.Least(rounded));

        static void Nothing()
        {
        }
    }
}
