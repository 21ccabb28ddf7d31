using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>A context and its accelerator, by the names a backend uses.</summary>
internal sealed class Device : IDisposable
{
    public Device()
    {
        Context = Context.Create(builder => builder.Optimize(OptimizationLevel.O2).EnableAlgorithms().CPU());
        Accelerator = Context.Devices[0].CreateAccelerator(Context);
    }

    public Context Context { get; }
    public Accelerator Accelerator { get; }

    public static float[] Noise(int length, int seed)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, length).Select(_ => (float)(random.NextDouble() * 2 - 1))];
    }

    public MemoryBuffer1D<T, Stride1D.Dense> New<T>(params T[] data) where T : unmanaged => Accelerator.Allocate1D(data);

    public MemoryBuffer1D<T, Stride1D.Dense> Raw<T>(int length) where T : unmanaged => Accelerator.Allocate1D<T>(length);

    public void Dispose()
    {
        Accelerator.Dispose();
        Context.Dispose();
    }
}
