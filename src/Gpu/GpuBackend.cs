using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>The room of the ILGPU backend: it will implement <see cref="IBackend"/> with kernels in C# that compile to CUDA and OpenCL.</summary>
public static class GpuBackend
{
    /// <summary>The devices that will live here, by the names <c>--device</c> takes.</summary>
    public static IReadOnlyList<string> Devices { get; } = ["cuda", "opencl", "ilgpu-cpu"];

    /// <summary>Why none of them is available, in one sentence.</summary>
    public static string Unavailable => "the ILGPU backend is not written yet; use --device cpu";

    /// <exception cref="NotSupportedException">Always, for now: the message says why.</exception>
    public static IBackend Create(string device) => throw new NotSupportedException($"device {device}: {Unavailable}");
}
