using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public static partial class GpuDevices
{
    private const string NoGenericPointers = "without generic address space (OpenCL 2, or an option of 3), which ILGPU's kernels need";

    /// <summary>Few lanes: every sum over a warp is a score of barriers, which take the longer, the more threads wait. Fewer yet would refuse heads of 64.</summary>
    private static readonly CPUDevice Simulated = Simulation(lanes: 8);

    /// <summary>A device of ILGPU's; without one, the reason.</summary>
    private sealed record Entry(Device? Device, string Description);

    /// <summary>Where kernels are compiled: at O2, since O1 loads through generic pointers; with the maths of ILGPU.Algorithms.</summary>
    internal static Context CreateContext() => Context.Create(static builder => builder.Optimize(OptimizationLevel.O2).EnableAlgorithms());

    /// <summary>ILGPU's own CPU as a device with groups as large as kernels with tiles want.</summary>
    internal static CPUDevice Simulation(int lanes) => new(numThreadsPerWarp: lanes, numWarpsPerMultiprocessor: GpuBackend.MostThreads / lanes, numMultiprocessors: 1);

    static partial void Count(IBackend backend, ref GpuCounts? counts) => counts = (backend as GpuBackend)?.Counts;

    static partial void Find(List<GpuDevice> found)
    {
        foreach (string kind in Kinds)
            found.AddRange(Of(kind).Select((e, i) => new GpuDevice(i == 0 ? kind : $"{kind}:{i}", e.Device is not null, e.Description)));
    }

    static partial void Open(string device, ref IBackend? found)
    {
        if (!TryParse(device, out string kind, out int index))
            throw new NotSupportedException($"device {device}: there is none of that name");
        List<Entry> all = Of(kind);
        if (index >= all.Count && all[0].Device is not null)
            throw new NotSupportedException($"device {device}: the last one here is {kind}:{all.Count - 1}");
        Entry entry = all[Math.Min(index, all.Count - 1)];
        if (entry.Device is null)
            throw new NotSupportedException($"device {device}: {entry.Description}");
        Context context = CreateContext();
        try
        {
            int groupSize = entry.Device == Simulated ? Simulated.WarpSize : GpuBackend.MostThreads;
            found = new GpuBackend(context, entry.Device.CreateAccelerator(context), device, groupSize);
        }
        catch (Exception e)
        {
            context.Dispose();
            throw new NotSupportedException($"device {device}: {e.Message}", e);
        }
    }

    /// <summary>The devices of one kind, those that can be used first; never empty.</summary>
    private static List<Entry> Of(string kind)
    {
        if (kind == SimulationKind)
            return [new(Simulated, $"ILGPU's simulation with one thread for each of a group's {Simulated.MaxNumThreadsPerGroup}: very slow, for tests")];

        if (!DriverLibraries.Load(kind, out string file))
            return [new(null, $"the driver's library {file} is not installed")];
        List<Entry> found = kind == "cuda"
            ? [.. CudaDevice.GetDevices(static _ => true).Cast<CudaDevice>().Select(Describe)]
            : [.. CLDevice.GetDevices(static _ => true).Cast<CLDevice>().Select(Describe)];
        return found.Count > 0
            ? [.. found.OrderBy(static e => e.Device is null)]
            : [new(null, $"the driver's library {file} is there, but finds no device")];
    }

    private static Entry Describe(CudaDevice device) =>
        device.Architecture is { } architecture && device.InstructionSet is not null
            ? new(device, $"{Describe((Device)device)}, {architecture}")
            : new(null, $"{device.Name}, of an architecture or with a driver too old for ILGPU");

    private static Entry Describe(CLDevice device) =>
        device.Capabilities.GenericAddressSpace ? new(device, Describe((Device)device)) : new(null, $"{device.Name}, {NoGenericPointers}");

    private static string Describe(Device device) =>
        $"{device.Name}, {device.MemorySize / (double)(1 << 30):F1} GiB, {device.NumMultiprocessors} multiprocessors";
}
