using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

/// <summary>One kernel with what it cannot do without: bytes that must be read or written once, and floating-point operations.</summary>
internal sealed record Kernel(string Name, double Bytes, double Flops, Action Run);

/// <summary>What a device gives at best, measured on itself.</summary>
/// <param name="Bytes">Per second, read and written by a copy.</param>
/// <param name="Flops">Per second, in the fastest product of large matrices.</param>
internal sealed record Ceilings(double Bytes, double Flops)
{
    /// <summary>An H200 SXM by its data sheet: 4.8 TB/s, 67 TFLOP/s in F32 without tensor cores.</summary>
    public static Ceilings H200 { get; } = new(4.8e12, 67e12);

    /// <summary>The least time that the work can take.</summary>
    public double Least(Kernel k) => Math.Max(k.Bytes / Bytes, k.Flops / Flops);
}

/// <summary>All kernels, by group.</summary>
internal static class KernelTable
{
    /// <returns>The ceilings that the kernels were held against.</returns>
    public static Ceilings Print(IBackend backend, Sizes sizes)
    {
        using Stopclock clock = new(backend, sizes.Seconds);
        List<(Kernel Kernel, double Seconds)> measured = [];
        double bytes = 0, flops = 0;
        foreach (IEnumerable<Func<Bed, IEnumerable<Kernel>>> groups in new[] { KernelGroups.Ceilings(sizes), KernelGroups.All(sizes) })
            foreach (Func<Bed, IEnumerable<Kernel>> group in groups)
            {
                using Bed bed = new(backend);
                foreach (Kernel kernel in group(bed))
                {
                    double seconds = clock.Time(kernel.Run);
                    measured.Add((kernel, seconds));
                    bytes = Math.Max(bytes, kernel.Flops == 0 ? kernel.Bytes / seconds : 0);
                    flops = Math.Max(flops, kernel.Flops / seconds);
                    Console.Error.Write($"\r{kernel.Name,-70}");
                }
            }
        Console.Error.Write($"\r{"",-70}\r");
        Ceilings ceilings = new(bytes, flops);
        Console.WriteLine();
        Console.WriteLine($"ceilings, the most that any kernel here reached: {bytes / 1e9:f0} GB/s, {flops / 1e12:f2} TFLOP/s");
        Console.WriteLine();
        Console.WriteLine("| kernel | µs | GB/s | TFLOP/s | share of the ceilings | least on an H200, µs |");
        Console.WriteLine("|---|---:|---:|---:|---:|---:|");
        foreach ((Kernel k, double s) in measured)
            Console.WriteLine($"| {k.Name} | {1e6 * s:f1} | {k.Bytes / s / 1e9:f0} | {k.Flops / s / 1e12:f2} | {ceilings.Least(k) / s:p0} | {1e6 * Ceilings.H200.Least(k):f1} |");
        return ceilings;
    }
}
