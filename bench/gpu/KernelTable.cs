using MoeFromScratch.Gpu;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

/// <summary>One kernel with what it cannot do without: bytes that must be read or written once, and floating-point operations.</summary>
internal sealed record Kernel(string Name, double Bytes, double Flops, Action Run)
{
    /// <summary>What its factors are rounded to: products that round are held against those that round likewise.</summary>
    public Precision Precision { get; init; }
}

/// <summary>What a device gives at best, measured on itself.</summary>
/// <param name="Bytes">Per second, read and written by a copy.</param>
/// <param name="Flops">Per second, in the fastest exact product of large matrices.</param>
/// <param name="Tf32">In the fastest one of factors in TF32; 0 where there is none.</param>
/// <param name="Bf16">Of factors in BF16.</param>
internal sealed record Ceilings(double Bytes, double Flops, double Tf32 = 0, double Bf16 = 0)
{
    /// <summary>An H200 SXM by its data sheet: 4.8 TB/s, 67 TFLOP/s in F32, on tensor cores 494 in TF32 and 989 in BF16.</summary>
    public static Ceilings H200 { get; } = new(4.8e12, 67e12, 494e12, 989e12);

    /// <summary>Those of the copy and of the large products: other kernels may find in the caches what they read, which is no ceiling.</summary>
    public static Ceilings Of(IReadOnlyList<(Kernel Kernel, double Seconds)> measured)
    {
        return new(Most(static k => k.Flops == 0, static k => k.Bytes), Fastest(Precision.F32), Fastest(Precision.Tf32), Fastest(Precision.Bf16));

        double Fastest(Precision precision) => Most(k => k.Flops > 0 && k.Precision == precision, static k => k.Flops);

        double Most(Func<Kernel, bool> counts, Func<Kernel, double> work) =>
            measured.Where(m => counts(m.Kernel)).Select(m => work(m.Kernel) / m.Seconds).DefaultIfEmpty().Max();
    }

    /// <summary>The least time that the work can take.</summary>
    public double Least(Kernel k) => Math.Max(k.Bytes / Bytes, k.Flops / k.Precision switch { Precision.Tf32 => Tf32, Precision.Bf16 => Bf16, _ => Flops });
}

/// <summary>All kernels, by group.</summary>
internal static class KernelTable
{
    /// <returns>The ceilings that the kernels were held against.</returns>
    public static Ceilings Print(IBackend backend, Sizes sizes)
    {
        using Stopclock clock = new(backend, sizes.Seconds);
        List<(Kernel Kernel, double Seconds)> measured = [.. Measure(backend, KernelGroups.Ceilings(sizes), clock)];
        Ceilings ceilings = Ceilings.Of(measured);
        measured.AddRange(Measure(backend, KernelGroups.All(sizes), clock));
        Console.Error.Write($"\r{"",-70}\r");
        Console.WriteLine();
        string cores = ceilings.Tf32 > 0 ? $", on tensor cores {ceilings.Tf32 / 1e12:f2} in TF32 and {ceilings.Bf16 / 1e12:f2} in BF16" : "";
        Console.WriteLine($"ceilings, what a copy and the fastest of the large products reached: {ceilings.Bytes / 1e9:f0} GB/s, {ceilings.Flops / 1e12:f2} TFLOP/s{cores}");
        Console.WriteLine();
        Console.WriteLine("| kernel | µs | GB/s | TFLOP/s | share of the ceilings | least on an H200, µs |");
        Console.WriteLine("|---|---:|---:|---:|---:|---:|");
        foreach ((Kernel k, double s) in measured)
            Console.WriteLine($"| {k.Name} | {1e6 * s:f1} | {k.Bytes / s / 1e9:f0} | {k.Flops / s / 1e12:f2} | {ceilings.Least(k) / s:p0} | {1e6 * Ceilings.H200.Least(k):f1} |");
        return ceilings;
    }

    private static IEnumerable<(Kernel Kernel, double Seconds)> Measure(IBackend backend, IEnumerable<Func<Bed, IEnumerable<Kernel>>> groups, Stopclock clock)
    {
        foreach (Func<Bed, IEnumerable<Kernel>> group in groups)
        {
            using Bed bed = new(backend);
            foreach (Kernel kernel in group(bed))
            {
                yield return (kernel, clock.Time(kernel.Run));
                Console.Error.Write($"\r{kernel.Name,-70}");
            }
        }
    }
}
