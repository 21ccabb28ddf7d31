using MoeFromScratch.Gpu.Tests;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>The kernels on ILGPU's own simulation.</summary>
public sealed class SimulationTests(SimulationTests.Device device) : PathTests(device.Backend), IClassFixture<SimulationTests.Device>
{
    private readonly IBackend _backend = device.Backend;

    [Fact]
    public void TheDeviceOpens() => Assert.Equal("ilgpu-cpu", _backend.Name);

    public sealed class Device : IDisposable
    {
        public IBackend Backend { get; } = GpuDevices.Open("ilgpu-cpu");

        public void Dispose() => Backend.Dispose();
    }
}
