using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>Each planted fault is found, and named: kernel, buffer, index, threads, lines.</summary>
public class FaultTests
{
    private static void Expect(FaultKind kind, Action<Device> act, params string[] parts)
    {
        using IDisposable _ = (KernelCheckOptions.Current with { Leaks = kind == FaultKind.Leak }).Use();
        using Device device = new();
        KernelFault fault = Assert.Throws<KernelFault>(() => act(device));
        Assert.True(kind == fault.Kind, fault.Message);
        Assert.All(parts, part => Assert.Contains(part, fault.Message, StringComparison.Ordinal));
    }

    private static void In(ThreadOrder order, Action act)
    {
        using IDisposable _ = new KernelCheckOptions { Order = order }.Use();
        act();
    }

    private static void Run<T>(Device d, Action<ArrayView<T>> kernel, KernelConfig config, T[] y) where T : unmanaged =>
        d.Accelerator.LoadStreamKernel(kernel)(config, d.New(y).Named("y").View);

    private static void Run<T>(Device d, Action<ArrayView<T>, ArrayView<T>> kernel, KernelConfig config, T[] x, int y) where T : unmanaged =>
        d.Accelerator.LoadStreamKernel(kernel)(config, d.New(x).Named("x").View, d.Raw<T>(y).View);

    [Fact]
    public void Bounds()
    {
        Expect(FaultKind.OutOfBounds, d => Run(d, Faulty.ReadsBeyond, (1, 4), new float[4], 4),
            "kernel Faulty.ReadsBeyond:", "thread 3 of group 0", "index 4 of a view of 4 float", "buffer #1 (float[4]) \"x\"", Faulty.Line("beyond"));
        Expect(FaultKind.OutOfBounds, d => d.Accelerator.LoadStreamKernel<ArrayView1D<float, Stride1D.Dense>>(Faulty.WritesBeyond)((1, 5), d.Raw<float>(4).View),
            "thread 4 of group 0", "index 4 of a view of 4", "buffer #1 (float[4])", Faulty.Line("beyond too"));
        Expect(FaultKind.OutOfBounds, d => Run(d, Faulty.NegativeIndex, (1, 4), new float[4]),
            "index -1", "a device would extend the int with zeros", Faulty.Line("negative"));
        Expect(FaultKind.OutOfBounds, d => Run(d, Faulty.SubViewBeyond, (1, 4), new float[9]), "SubView(2, 8)", "view of 9 elements", Faulty.Line("sub-view"));
        Expect(FaultKind.Misaligned, d => Run(d, Faulty.Misaligned, (1, 1), new float[9]), "Cast to F4", "4 bytes past a multiple of 16", Faulty.Line("misaligned"));
    }

    [Fact]
    public void BoundsOfSubViewsNameTheBuffersElement() => Expect(FaultKind.OutOfBounds,
        d => d.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(Faulty.ReadsBeyond)((1, 4), d.New(new float[16]).View.SubView(8, 4), d.Raw<float>(4).View),
        "index 4 of a view of 4 float that starts at element 8 of buffer #1");

    [Fact]
    public void RacesInSharedMemory()
    {
        In(ThreadOrder.Forward, () => Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.SharedRace, (1, 64), new float[64]),
            "thread 1 of group 0", "writes element 1 of shared memory float[64]", "which thread 0 read", Faulty.Line("stores"), Faulty.Line("loads"), "no barrier between"));
        In(ThreadOrder.Reversed, () => Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.SharedRace, (1, 64), new float[64]), Faulty.Line("stores"), Faulty.Line("loads")));
        In(ThreadOrder.Seeded, () => Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.SharedRace, (1, 64), new float[64])));
        Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.SecondRoundRace, (1, 64), new float[64]),
            "thread 32 of group 0", "reads element 31 of shared memory", "which thread 31 wrote", Faulty.Line("again"), Faulty.Line("before"));
    }

    [Fact]
    public void RacesInGlobalMemory()
    {
        Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.GlobalRace, (1, 64), new float[65]), "thread 1", "reads element 0 of buffer #1 (float[65]) \"y\"", "thread 0 wrote");
        In(ThreadOrder.Reversed, () => Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.GlobalRace, (1, 64), new float[65]), "thread 0 of group 0", "writes element 0", "which thread 31 read"));
        Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.SameValue, (1, 64), new int[1]), "thread 1", "writes element 0", "thread 0 wrote");
        Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.HalfRace, (1, 64), new ushort[64]), "writes element 0 of buffer #1 (ushort[64])");
        using Device device = new();
        using MemoryBuffer1D<ushort, Stride1D.Dense> y = device.Raw<ushort>(63);
        device.Accelerator.LoadStreamKernel<ArrayView<ushort>>(Faulty.HalvesApart)((1, 63), y.View);
        Assert.Equal(Enumerable.Range(0, 63).Select(i => (ushort)i), y.GetAsArray1D());
    }

    [Fact]
    public void RacesBetweenGroups()
    {
        Expect(FaultKind.RaceBetweenGroups, d => Run(d, Faulty.GroupRace, (3, 32), new float[1]),
            "thread 0 of group 1", "writes element 0", "which thread 0 of group 0 wrote", Faulty.Line("groups"), "in the same launch");
        In(ThreadOrder.Reversed, () => Expect(FaultKind.RaceBetweenGroups, d => Run(d, Faulty.GroupRace, (3, 32), new float[1]), "group 1", "of group 2"));
        Expect(FaultKind.RaceBetweenGroups, d => Run(d, Faulty.GroupReadRace, (3, 1), new float[4]), "thread 0 of group 1", "reads element 0");
        In(ThreadOrder.Reversed, () => Expect(FaultKind.RaceBetweenGroups, d => Run(d, Faulty.GroupReadRace, (3, 1), new float[4]), "writes element 0"));
        Expect(FaultKind.RaceInGroup, d => Run(d, Faulty.PlainAfterAtomic, (1, 64), new int[2]), Faulty.Line("plain"), Faulty.Line("atomic"), "wrote (atomically)");
    }

    [Fact]
    public void LaunchesAreOrdered()
    {
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> y = device.New(new float[1]);
        Action<KernelConfig, ArrayView<float>> kernel = device.Accelerator.LoadStreamKernel<ArrayView<float>>(Faulty.GroupRace);
        for (int i = 0; i < 3; i++)
            kernel((1, 32), y.View);
        Assert.Equal([0], y.GetAsArray1D());
    }

    [Fact]
    public void Divergence()
    {
        Expect(FaultKind.Divergence, d => Run(d, Faulty.SomeExit, (1, 64), new float[40]),
            "thread 32 of group 0", "waits at Group.Barrier, but thread 40 has ended", Faulty.Line("barrier"));
        Expect(FaultKind.Divergence, d => Run(d, Faulty.TwoBarriers, (1, 64), new float[64]), "thread 32 waits at Group.Barrier", Faulty.Line("one"), Faulty.Line("other"));
        Expect(FaultKind.Divergence, d => Run(d, Faulty.SomeLanes, (1, 32), new float[32]), "waits at Warp.ShuffleXor, but thread 16 has ended", Faulty.Line("shuffle"));
    }

    [Fact]
    public void Uninitialised()
    {
        Expect(FaultKind.Uninitialised, d => Run(d, Faulty.UninitialisedShared, (2, 64), new float[64]),
            "thread 5 of group 0", "reads element 5 of shared memory float[64]", Faulty.Line("unwritten"));
        Expect(FaultKind.Uninitialised, d => Run(d, Faulty.SharedOfLastGroup, (2, 64), new float[128]), "thread 0 of group 1");
        Expect(FaultKind.Uninitialised, d => d.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(Faulty.Copy)((1, 4), d.Raw<float>(4).View, d.Raw<float>(4).View),
            "reads element 0 of buffer #1 (float[4])");
        Expect(FaultKind.Uninitialised, d =>
        {
            MemoryBuffer1D<ushort, Stride1D.Dense> x = d.Raw<ushort>(5), copy = d.Raw<ushort>(5);
            x.View.SubView(0, 3).MemSetToZero();
            copy.View.CopyFrom(x.View);
            d.Accelerator.LoadStreamKernel<ArrayView<ushort>, ArrayView<ushort>>(Faulty.CopyHalves)((1, 5), copy.View, d.Raw<ushort>(5).View);
        }, "thread 3", "reads element 3 of buffer #2");
        Expect(FaultKind.Uninitialised, d =>
        {
            MemoryBuffer1D<float, Stride1D.Dense> x = d.New(new float[4]);
            x.View.SubView(2, 1).BaseView.Forget();
            d.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(Faulty.Copy)((1, 4), x.View, d.Raw<float>(4).View);
        }, "reads element 2");
        using IDisposable _ = new KernelCheckOptions { Uninitialised = false }.Use();
        using Device device = new();
        using MemoryBuffer1D<float, Stride1D.Dense> raw = device.Raw<float>(4), y = device.Raw<float>(4);
        device.Accelerator.LoadStreamKernel<ArrayView<float>, ArrayView<float>>(Faulty.Copy)((1, 4), raw.View, y.View);
    }

    [Fact]
    public void SharedMemorySizes()
    {
        Expect(FaultKind.SharedMemory, d => Run(d, Faulty.TooMuchShared, (1, 4), new float[4]), "49156 bytes", "has 49152", Faulty.Line("too much"));
        Expect(FaultKind.SharedMemory, d => Run(d, Faulty.DynamicBeyond, (1, 4), new float[4]), "configures no dynamic shared memory");
        Expect(FaultKind.OutOfBounds, d => Run(d, Faulty.DynamicBeyond, new KernelConfig(1, 4, SharedMemoryConfig.RequestDynamic<float>(4)), new float[4]),
            "thread 3", "index 4 of a view of 4 float", "dynamic shared memory", Faulty.Line("dynamic"));
        Expect(FaultKind.SharedMemory, d => Run(d, Faulty.DynamicBeyond, new KernelConfig(1, 4, SharedMemoryConfig.RequestDynamic<float>(12289)), new float[4]), "49156 bytes");
        Expect(FaultKind.Refused, d =>
        {
            Action<KernelConfig, ArrayView<float>, int> kernel = d.Accelerator.LoadStreamKernel<ArrayView<float>, int>(Faulty.SharedOfSize);
            kernel((1, 4), d.Raw<float>(4).View, 4);
            kernel((1, 4), d.Raw<float>(4).View, 5);
        }, "must be a constant");
    }

    [Fact]
    public void DeviceArithmetic()
    {
        Expect(FaultKind.DeviceArithmetic, d => Run(d, Faulty.Quarter, (1, 4), [4, 5, -5, 6], 4), "thread 2", "-5 / 4", "gives -2, not -1", Faulty.Line("quarter"));
        Expect(FaultKind.DeviceArithmetic, d => Run(d, Faulty.TileOf<Tile16>, (1, 4), [4, 5, -5, 6], 4), "-5 / 16");
        Expect(FaultKind.DeviceArithmetic, d => Run(d, Faulty.QuarterUnsigned, (1, 1), [0x8000_0000u], 1));
        using Device device = new();
        using MemoryBuffer1D<int, Stride1D.Dense> x = device.New(-9), y = device.Raw<int>(1);
        device.Accelerator.LoadStreamKernel<ArrayView<int>, ArrayView<int>, int>(Faulty.Others)((1, 1), x.View, y.View, 4);
        Assert.Equal([-2 - 1 - 3 - 3], y.GetAsArray1D());
    }

    [Fact]
    public void LivesOfBuffers()
    {
        Expect(FaultKind.UseAfterFree, d =>
        {
            MemoryBuffer1D<float, Stride1D.Dense> y = d.Raw<float>(4).Named("gone");
            ArrayView<float> view = y.View;
            y.Dispose();
            d.Accelerator.LoadStreamKernel<ArrayView<float>>(Faulty.GroupRace)((1, 1), view);
        }, "kernel Faulty.GroupRace", "argument 0 is a view of buffer #1 (float[4]) \"gone\"");
        Expect(FaultKind.UseAfterFree, d =>
        {
            MemoryBuffer1D<float, Stride1D.Dense> y = d.Raw<float>(4);
            ArrayView1D<float, Stride1D.Dense> view = y.View;
            y.Dispose();
            view.CopyToCPU(new float[4]);
        }, "buffer #1");
        Expect(FaultKind.DoubleFree, d =>
        {
            MemoryBuffer1D<float, Stride1D.Dense> y = d.Raw<float>(4);
            y.Dispose();
            y.Dispose();
        }, "buffer #1 (float[4]) is disposed of a second time");
        Expect(FaultKind.Leak, d =>
        {
            d.Raw<float>(1).Dispose();
            d.Raw<float>(4).Named("left");
            d.Dispose();
        }, "1 of 2 buffers", "buffer #2 (float[4]) \"left\"");
        Expect(FaultKind.OtherAccelerator, d =>
        {
            using Device other = new();
            using MemoryBuffer1D<float, Stride1D.Dense> y = other.Raw<float>(4);
            d.Accelerator.LoadStreamKernel<ArrayView<float>>(Faulty.GroupRace)((1, 1), y.View);
        }, "argument 0", "another accelerator");
        Expect(FaultKind.OutOfBounds, d => d.Raw<float>(4).CopyFromCPU(new float[5]), "5 elements");
    }

    [Fact]
    public void BuffersThatOutliveTheirAcceleratorFreeNothingTwice()
    {
        using Device next = new();
        using (new KernelCheckOptions { Leaks = false }.Use())
        {
            Device gone = new();
            using MemoryBuffer1D<float, Stride1D.Dense> left = gone.Raw<float>(4);
            gone.Dispose();
        }
        using MemoryBuffer1D<float, Stride1D.Dense> a = next.Raw<float>(4), b = next.Raw<float>(4);
        Assert.NotEqual(a.NativePtr, b.NativePtr);
    }

    [Fact]
    public void Launches()
    {
        Expect(FaultKind.Launch, d => Run(d, Faulty.GroupRace, (1, 1025), new float[1]), "up to 1024");
        Expect(FaultKind.Launch, d => Run(d, Faulty.GroupRace, (0, 32), new float[1]), "a grid of (0, 1, 1)");
    }
}
