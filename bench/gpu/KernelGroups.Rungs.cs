using MoeFromScratch.Gpu;
using MoeFromScratch.Gpu.Ladder;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

internal static partial class KernelGroups
{
    /// <summary>A device that is not CUDA, or older than sm_80, is without the upper ones.</summary>
    static partial void AddRungs(Bed bed, int side, List<Kernel> kernels)
    {
        GpuBackend backend = (GpuBackend)bed.Backend;
        Tensor x = bed.Random([side, side]), w = bed.Random([side, side]), y = bed.New([side, side]);
        foreach (Rung rung in Rung.All.Where(backend.Has))
            kernels.Add(new($"rung {rung.Number} of the ladder, {rung.Name}, {side}³", 3 * F * side * side, Rung.Flops(side, side, side), () => backend.LinearOn(rung, x, w, y))
            {
                Precision = rung.Precision,
            });
    }
}
