using System.Globalization;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>A device under the name that <c>--device</c> takes, or in one sentence why it cannot be used.</summary>
public sealed record GpuDevice(string Name, bool Available, string Description);

/// <summary>What a backend of this room did beside arithmetic.</summary>
/// <param name="Launches">Kernels launched.</param>
/// <param name="Downloads">Crossings to the host: times that it waited for something.</param>
public readonly record struct GpuCounts(long Launches, long Downloads)
{
    /// <summary>
    /// Launches of a decoded token that follow its last layer: what makes the last row the head's, the head, the experts' counts where there
    /// are experts, and the sampled token. What comes before the first layer shares that layer's.
    /// </summary>
    public static int OutsideOfLayers(bool hasExperts) => hasExperts ? 4 : 3;

    public static GpuCounts operator -(GpuCounts after, GpuCounts before) =>
        new(after.Launches - before.Launches, after.Downloads - before.Downloads);

    /// <summary>Launches for each layer of a model, where these are the counts of so many decoded tokens.</summary>
    public double LaunchesPerLayer(int layers, bool hasExperts, int tokens = 1) => ((double)Launches / tokens - OutsideOfLayers(hasExperts)) / layers;
}

/// <summary>What the factors of a product are rounded to before they are multiplied; sums are F32 always.</summary>
public enum Precision
{
    /// <summary>Nothing is rounded.</summary>
    F32,

    /// <summary>11 bits: 8 for the exponent as in F32, 10 of the mantissa.</summary>
    Tf32,

    /// <summary>8 bits: bfloat16.</summary>
    Bf16,
}

/// <summary>The door of this room, open or not: the package ILGPU is optional, and this file is compiled without it too.</summary>
public static partial class GpuDevices
{
    private const string NoPackage =
        "built without the package ILGPU, which no package source had; add one that has it and build again with --force";

    private const string SimulationKind = "ilgpu-cpu";

    /// <summary>The kinds of device that live here; <c>cuda:1</c> is the second one of its kind.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["cuda", "opencl", SimulationKind];

    /// <summary>Whether <paramref name="device"/> is a name of this room, there or not.</summary>
    public static bool Knows(string device) => TryParse(device, out _, out _);

    /// <summary>Whether that is a name of the simulation, where a token takes seconds.</summary>
    public static bool IsSimulation(string device) => TryParse(device, out string kind, out _) && kind == SimulationKind;

    /// <summary>What this machine has of each kind, at least one entry per kind.</summary>
    public static IReadOnlyList<GpuDevice> List()
    {
        List<GpuDevice> found = [];
        Find(found);
        return found.Count > 0 ? found : [.. Kinds.Select(static kind => new GpuDevice(kind, false, NoPackage))];
    }

    /// <summary>A backend on that device.</summary>
    /// <param name="device">Its name.</param>
    /// <param name="precision">What factors of products are rounded to, where <c>Tensor.MayRound</c> allows it: other than F32 takes tensor cores.</param>
    /// <exception cref="NotSupportedException">The device is not there, or cannot round so; the message says why.</exception>
    public static IBackend Open(string device, Precision precision = Precision.F32)
    {
        IBackend? found = null;
        Open(device, precision, ref found);
        return found ?? throw new NotSupportedException($"device {device}: {NoPackage}");
    }

    /// <summary>What a backend did since it was opened; null for one of another room.</summary>
    public static GpuCounts? Count(IBackend backend)
    {
        GpuCounts? counts = null;
        Count(backend, ref counts);
        return counts;
    }

    // Without ILGPU nobody implements these, and the compiler drops the calls.
    static partial void Count(IBackend backend, ref GpuCounts? counts);

    static partial void Find(List<GpuDevice> found);

    static partial void Open(string device, Precision precision, ref IBackend? found);

    private static bool TryParse(string device, out string kind, out int index)
    {
        string[] parts = device.Split(':', 2);
        kind = parts[0];
        index = 0;
        return Kinds.Contains(kind) && (parts.Length == 1 || int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out index));
    }
}
