using ILGPU;
using ILGPU.Runtime.CPU;
using MoeFromScratch.Contract;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>The contract on the kernels, run by KernelCheck.</summary>
public sealed class GpuContractTests : BackendContract, IDisposable
{
    protected override IBackend Subject { get; } = Devices.Create();

    public void Dispose() => Subject.Dispose();
}

internal static class Devices
{
    public static GpuBackend Create(bool check = true)
    {
        Context context = Context.Create(static builder => builder.Optimize(OptimizationLevel.O2).EnableAlgorithms().CPU());
        return new GpuBackend(context, context.Devices[0].CreateAccelerator(context), "check", groupSize: 64, check);
    }
}
