using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>Kernels without a fault give the right numbers, and no fault is reported, in any order.</summary>
public class SoundKernelTests
{
    public static TheoryData<ThreadOrder, int> Orders => new() { { ThreadOrder.Forward, 1 }, { ThreadOrder.Reversed, 1 }, { ThreadOrder.Seeded, 1 }, { ThreadOrder.Seeded, 2 } };

    private static IDisposable In(ThreadOrder order, int seed) => new KernelCheckOptions { Order = order, Seed = seed }.Use();

    [Theory, MemberData(nameof(Orders))]
    public void Scale(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> x = device.New(1f, 2, 3, 4, 5);
        device.Accelerator.LoadStreamKernel<ArrayView1D<float, Stride1D.Dense>, float>(Kernels.Scale)((2, 4), x.View, 3f);
        Assert.Equal([3f, 6, 9, 12, 15], x.GetAsArray1D());
    }

    [Theory, MemberData(nameof(Orders))]
    public void Map(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> x = device.New(1f, 2, 3), y = device.Raw<float>(3);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(Kernels.Map<Square>)((1, 32), x.View, y.View);
        Assert.Equal([3f, 8, 15], y.GetAsArray1D());
    }

    [Theory, MemberData(nameof(Orders))]
    public void Gemm(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        const int m = 37, n = 50, k = 23;
        float[] a = Device.Noise(m * k, 1), b = Device.Noise(k * n, 2);
        using MemoryBuffer1D<float, Stride1D.Dense> da = device.New(a), db = device.New(b), dc = device.Raw<float>(m * n);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>, ArrayView<float>, int, int, int>(Kernels.Gemm<Tile16>)(
            new KernelConfig(new Index2D(4, 3), new Index2D(16, 16)), da.View, db.View, dc.View, m, n, k);
        float[] c = dc.GetAsArray1D();
        for (int row = 0; row < m; row++)
            for (int column = 0; column < n; column++)
            {
                double sum = 0;
                for (int i = 0; i < k; i++)
                    sum += (double)a[row * k + i] * b[i * n + column];
                Assert.Equal(sum, c[row * n + column], 1e-5);
            }
    }

    [Theory, MemberData(nameof(Orders))]
    public void RowSums(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        float[] x = Device.Noise(5 * 300, 3);
        using MemoryBuffer1D<float, Stride1D.Dense> dx = device.New(x), sums = device.Raw<float>(5);
        device.Accelerator.LoadKernel<ArrayView<float>, ArrayView<float>, int>(Kernels.RowSums)(
            device.Accelerator.DefaultStream, new KernelConfig(5, 128), dx.View, sums.View, 300);
        for (int row = 0; row < 5; row++)
            Assert.Equal(x.Skip(row * 300).Take(300).Sum(v => (double)v), sums.GetAsArray1D()[row], 1e-4);
    }

    [Theory, MemberData(nameof(Orders))]
    public void Scan(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        int[] x = [.. Enumerable.Range(1, 50)];
        using MemoryBuffer1D<int, Stride1D.Dense> dx = device.New(x), y = device.Raw<int>(50);
        device.Accelerator.LoadStreamKernel<ArrayView<int>, ArrayView<int>>(Kernels.Scan)(
            new KernelConfig(1, 50, SharedMemoryConfig.RequestDynamic<int>(50)), dx.View, y.View);
        Assert.Equal(x.Select(i => i * (i + 1) / 2), y.GetAsArray1D());
    }

    [Theory, MemberData(nameof(Orders))]
    public void Histogram(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        int[] x = [.. Enumerable.Range(0, 1000).Select(i => i % 7)];
        using MemoryBuffer1D<int, Stride1D.Dense> dx = device.New(x), counts = device.Raw<int>(7);
        counts.MemSetToZero();
        device.Accelerator.LoadStreamKernel<ArrayView<int>, ArrayView<int>>(Kernels.Histogram)((8, 128), dx.View, counts.View);
        Assert.Equal(Enumerable.Range(0, 7).Select(v => x.Count(i => i == v)), counts.GetAsArray1D());
    }

    [Theory, MemberData(nameof(Orders))]
    public void References(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        float[] x = [.. Enumerable.Range(3, 64).Select(i => (float)i)];
        using MemoryBuffer1D<float, Stride1D.Dense> dx = device.New(x);
        using MemoryBuffer1D<Pair, Stride1D.Dense> y = device.Raw<Pair>(64);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<Pair>>(Kernels.References)((1, 64), dx.View, y.View);
        Assert.All(y.GetAsArray1D().Index(), e => Assert.Equal((x[e.Index & ~31] + 1, x[e.Index] * x[e.Index]), (e.Item.A, e.Item.B)));
    }

    [Theory, MemberData(nameof(Orders))]
    public void Wide(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        float[] x = [1, 2, 3, 4, 5, 6, 7, 8];
        using MemoryBuffer1D<float, Stride1D.Dense> dx = device.New(x), y = device.Raw<float>(8);
        using MemoryBuffer1D<ushort, Stride1D.Dense> halves = device.New<ushort>(0x3f80, 0x4000, 0x4000);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<ushort>, ArrayView<float>>(Kernels.Wide)((2, 4), dx.View, halves.View, y.View);
        Assert.Equal([2, 2, 3, 4, 7, 6, 7, 8], y.GetAsArray1D());
        Assert.Equal([0x3f80, 0x4000, 0x4040], halves.GetAsArray1D());
    }

    [Theory, MemberData(nameof(Orders))]
    public void Lanes(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        using MemoryBuffer1D<int, Stride1D.Dense> up = device.Raw<int>(48), down = device.Raw<int>(48), xor = device.Raw<int>(48), any = device.Raw<int>(48);
        device.Accelerator.LoadStreamKernel<ArrayView<int>, ArrayView<int>, ArrayView<int>, ArrayView<int>>(Kernels.Lanes)(
            (1, 48), up.View, down.View, xor.View, any.View);
        for (int i = 0; i < 48; i++)
        {
            int lane = i & 31, lanes = i < 32 ? 32 : 16;
            int taken(int from) => from < lanes ? from : -1;   // lanes that do not exist give all ones
            Assert.Equal(lane % 8 == 0 ? lane : lane - 1, up.GetAsArray1D()[i]);
            Assert.Equal(lane + 3 < 32 ? taken(lane + 3) : lane, down.GetAsArray1D()[i]);
            Assert.Equal(taken(lane ^ 5), xor.GetAsArray1D()[i]);
            Assert.Equal(16 + 1000 + 20000, any.GetAsArray1D()[i]);
        }
    }

    [Theory, MemberData(nameof(Orders))]
    public void WarpNeighbours(ThreadOrder order, int seed)
    {
        using IDisposable _ = In(order, seed);
        using Device device = new();
        using MemoryBuffer1D<int, Stride1D.Dense> y = device.Raw<int>(64);
        device.Accelerator.LoadStreamKernel<ArrayView<int>>(Kernels.WarpNeighbours)((1, 64), y.View);
        Assert.Equal(Enumerable.Range(0, 64).Select(i => ((i ^ 1) & ~31) | ((i ^ 1) + 1 & 31)), y.GetAsArray1D());
    }
}
