using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using MoeFromScratch.KernelCheck;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>The rungs that need sm_80: products with asynchronous copies, and on tensor cores, dense and of ragged segments.</summary>
public sealed class TensorCoreTests
{
    /// <summary>Sums of up to 100 products in F32, in any order.</summary>
    private const double Sums = 100 / 16777216.0;

    public static TheoryData<ThreadOrder> Orders => [.. Enum.GetValues<ThreadOrder>()];

    [Theory, MemberData(nameof(Orders))]
    public void AsynchronousCopies(ThreadOrder order)
    {
        Holds<AsyncCopiesProduct<DenseRows, F32>, AsyncCopiesProduct<ExpertRows, F32>>(order, 256, 0, 0);
        Holds<AsyncCopiesProduct<DenseRows, BF16>, AsyncCopiesProduct<ExpertRows, BF16>>(order, 256, 0, 8);
        Holds<AsyncCopiesProduct<DenseRows, F16>, AsyncCopiesProduct<ExpertRows, F16>>(order, 256, 0, 11);
    }

    [Theory, MemberData(nameof(Orders))]
    public void TensorCoresOfBf16(ThreadOrder order)
    {
        Holds<TensorCoreProduct<DenseRows, F32, Bf16Core>, TensorCoreProduct<ExpertRows, F32, Bf16Core>>(order, 128, 8, 0);
        Holds<TensorCoreProduct<DenseRows, BF16, Bf16Core>, TensorCoreProduct<ExpertRows, BF16, Bf16Core>>(order, 128, 8, 8);
        Holds<TensorCoreProduct<DenseRows, F16, Bf16Core>, TensorCoreProduct<ExpertRows, F16, Bf16Core>>(order, 128, 8, 11);
    }

    [Theory, MemberData(nameof(Orders))]
    public void TensorCoresOfTf32(ThreadOrder order)
    {
        Holds<TensorCoreProduct<DenseRows, F32, Tf32Core>, TensorCoreProduct<ExpertRows, F32, Tf32Core>>(order, 128, 11, 0);
        Holds<TensorCoreProduct<DenseRows, BF16, Tf32Core>, TensorCoreProduct<ExpertRows, BF16, Tf32Core>>(order, 128, 11, 8);
        Holds<TensorCoreProduct<DenseRows, F16, Tf32Core>, TensorCoreProduct<ExpertRows, F16, Tf32Core>>(order, 128, 11, 11);
    }

    /// <param name="order">Of threads.</param>
    /// <param name="threads">Of a group.</param>
    /// <param name="bits">Of a factor's significand, 0 for all 24.</param>
    /// <param name="stored">Of a weight's: 8 for BF16, 11 for F16, 0 for F32.</param>
    private static void Holds<TDense, TGrouped>(ThreadOrder order, int threads, int bits, int stored)
        where TDense : struct, IKernel<ProductArgs>
        where TGrouped : struct, IKernel<ProductArgs>
    {
        using IDisposable _ = new KernelCheckOptions { Order = order }.Use();
        using Context context = Context.Create(static b => b.CPU());
        using Accelerator device = context.Devices[0].CreateAccelerator(context);
        foreach ((int T, int D, int N) in new[] { (1, 4, 3), (70, 36, 65), (64, 100, 17) })
            Holds<TDense>(device, threads, bits, stored, T, D, N, []);
        Holds<TGrouped>(device, threads, bits, stored, 75, 20, 9, [0, 3, 3, 70, 75]);
    }

    private static void Holds<TKernel>(Accelerator device, int threads, int bits, int stored, int T, int D, int N, int[] offsets)
        where TKernel : struct, IKernel<ProductArgs>
    {
        int experts = Math.Max(1, offsets.Length - 1);
        Random random = new(1);
        float[] x = Normal(random, T * D), w = [.. Normal(random, experts * N * D).Select(v => stored == 0 ? v : Round(v, stored, even: true))];
        using MemoryBuffer1D<float, Stride1D.Dense> xs = device.Allocate1D(x), ys = device.Allocate1D<float>(T * N), floats = device.Allocate1D(w);
        using MemoryBuffer1D<ushort, Stride1D.Dense> halves = device.Allocate1D(w.Select(v => stored == 11 ? BitConverter.HalfToUInt16Bits((System.Half)v)
            : (ushort)(BitConverter.SingleToUInt32Bits(v) >> 16)).ToArray());
        using MemoryBuffer1D<int, Stride1D.Dense> ends = device.Allocate1D(offsets.Length == 0 ? [0] : offsets);
        ProductArgs args = new()
        {
            X = xs.View,
            Y = ys.View,
            W = stored == 0 ? new() { Floats = floats.View, Halves = ArrayView<ushort>.Empty } : new() { Floats = ArrayView<float>.Empty, Halves = halves.View },
            WExpert = N * D,
            M = T,
            N = N,
            K = D,
            Slots = new() { Offsets = offsets.Length == 0 ? ArrayView<int>.Empty : ends.View, Count = offsets.Length - 1 },
            X2 = ArrayView<float>.Empty,
            Index = ArrayView<int>.Empty,
        };
        device.LoadStreamKernel<ProductArgs>(GpuBackend.Entry<TKernel, ProductArgs>)(new(new Index3D((N + 63) / 64, T / 64 + experts, 1), new Index3D(threads, 1, 1)), args);
        float[] y = ys.GetAsArray1D();
        for (int row = 0; row < T; row++)
            for (int n = 0; n < N; n++)
            {
                int expert = offsets.Length == 0 ? 0 : Enumerable.Range(0, experts).Single(e => offsets[e] <= row && row < offsets[e + 1]);
                double exact = 0, rounded = 0, size = 0, unit = bits == 0 ? 0 : Math.Pow(2, -bits);
                for (int k = 0; k < D; k++)
                {
                    float a = x[row * D + k], b = w[(expert * N + n) * D + k];
                    exact += (double)a * b;
                    rounded += bits == 0 ? (double)a * b : (double)Round(a, bits, even: bits == 8) * Round(b, bits, even: bits == 8);
                    size += Math.Abs((double)a * b);
                }
                string place = $"{typeof(TKernel)} [{row}, {n}] of {T} × {D} × {N}";
                Assert.True(Math.Abs(y[row * N + n] - rounded) <= Sums * size, $"{place}: {y[row * N + n]}, rounded {rounded}");
                // Each factor is off by at most half a unit of its last bit.
                Assert.True(Math.Abs(y[row * N + n] - exact) <= (2 * unit + unit * unit + Sums) * size, $"{place}: {y[row * N + n]}, exact {exact}");
            }
    }

    private static float[] Normal(Random random, int length) => [.. Enumerable.Range(0, length).Select(_ => (float)(random.NextDouble() * 2 - 1))];

    /// <summary>To the nearest of so many bits, ties to even or away from zero.</summary>
    private static float Round(float x, int bits, bool even)
    {
        uint u = BitConverter.SingleToUInt32Bits(x), last = 1u << (24 - bits);
        return BitConverter.UInt32BitsToSingle((u + last / 2 - (even ? 1u - (u / last & 1) : 0)) / last * last);
    }
}
