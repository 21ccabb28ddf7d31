using ILGPU;
using MoeFromScratch.Contract;
using MoeFromScratch.Gpu.Tests;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Ilgpu.Tests;

/// <summary>The kernels on ILGPU's own simulation, with warps as large as CUDA's.</summary>
public sealed class SimulationTests(SimulationTests.Device device) : PathTests(device.Backend), IClassFixture<SimulationTests.Device>
{
    public sealed class Device : IDisposable
    {
        public IBackend Backend { get; } = WithLanes(32);

        public void Dispose() => Backend.Dispose();

        private static GpuBackend WithLanes(int lanes)
        {
            Context context = GpuDevices.CreateContext();
            return new GpuBackend(context, GpuDevices.Simulation(lanes).CreateAccelerator(context), $"{lanes} lanes", lanes);
        }
    }
}

/// <summary>The same on the simulation that users get, whose warps have fewer lanes.</summary>
public sealed class FewLanesTests(FewLanesTests.Device device) : PathTests(device.Backend), IClassFixture<FewLanesTests.Device>
{
    private readonly IBackend _backend = device.Backend;

    [Fact]
    public void TheDeviceOpens() => Assert.Equal("ilgpu-cpu", _backend.Name);

    /// <summary>A lane keeps eight columns of a head.</summary>
    [Fact]
    public void HeadsTooWideForAWarpAreRefused() =>
        Assert.Contains("heads of up to 64", Assert.Throws<ArgumentException>(() => Trial.Run(_backend, 1, static t => t.Backend.Attention(
            t.Normal([2, 66]), t.Normal([2, 66]), t.Normal([2, 66]), t.Input([1, 4], [0, 2, 0, 2]), null, null,
            new AttentionLayout(Heads: 1, KvHeads: 1, HeadDim: 66, Scale: 1), t.Output("y", [2, 66]), t.Output("lse", [2, 1])))).Message, StringComparison.Ordinal);

    public sealed class Device : IDisposable
    {
        public IBackend Backend { get; } = GpuDevices.Open("ilgpu-cpu");

        public void Dispose() => Backend.Dispose();
    }
}
