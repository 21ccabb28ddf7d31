using System.Runtime.CompilerServices;

namespace ILGPU;

// What kernels call. Instrumented code has a place of its own for most of it (MoeFromScratch.KernelCheck.Intrinsics).

internal static class Outside
{
    public static InvalidOperationException Kernel([CallerMemberName] string name = "") => new($"{name} was called outside of a kernel");
}

public static class Group
{
    public static int IdxX => throw Outside.Kernel();
    public static int IdxY => throw Outside.Kernel();
    public static int IdxZ => throw Outside.Kernel();
    public static int DimX => throw Outside.Kernel();
    public static int DimY => throw Outside.Kernel();
    public static int DimZ => throw Outside.Kernel();
    public static Index3D Index => throw Outside.Kernel();
    public static Index3D Dimension => throw Outside.Kernel();
    public static int LinearIndex => throw Outside.Kernel();
    public static bool IsFirstThread => throw Outside.Kernel();
    public static bool IsLastThread => throw Outside.Kernel();

    public static void Barrier() => throw Outside.Kernel();
    public static bool BarrierAnd(bool predicate) => throw Outside.Kernel();
    public static bool BarrierOr(bool predicate) => throw Outside.Kernel();
    public static int BarrierPopCount(bool predicate) => throw Outside.Kernel();
    public static T Broadcast<T>(T value, int groupIndex) where T : unmanaged => throw Outside.Kernel();
}

public static class Grid
{
    public static int IdxX => throw Outside.Kernel();
    public static int IdxY => throw Outside.Kernel();
    public static int IdxZ => throw Outside.Kernel();
    public static int DimX => throw Outside.Kernel();
    public static int DimY => throw Outside.Kernel();
    public static int DimZ => throw Outside.Kernel();
    public static Index3D Index => throw Outside.Kernel();
    public static Index3D Dimension => throw Outside.Kernel();
    public static Index3D GlobalIndex => throw Outside.Kernel();
    public static int LinearIndex => throw Outside.Kernel();
    public static int GlobalLinearIndex => throw Outside.Kernel();
}

public static class Warp
{
    public static int WarpSize => throw Outside.Kernel();
    public static int LaneIdx => throw Outside.Kernel();
    public static int WarpIdx => throw Outside.Kernel();
    public static bool IsFirstLane => throw Outside.Kernel();
    public static bool IsLastLane => throw Outside.Kernel();

    public static void Barrier() => throw Outside.Kernel();
    public static T Shuffle<T>(T variable, int sourceLane) where T : unmanaged => throw Outside.Kernel();
    public static T Shuffle<T>(T variable, int sourceLane, int width) where T : unmanaged => throw Outside.Kernel();
    public static T ShuffleDown<T>(T variable, int delta) where T : unmanaged => throw Outside.Kernel();
    public static T ShuffleDown<T>(T variable, int delta, int width) where T : unmanaged => throw Outside.Kernel();
    public static T ShuffleUp<T>(T variable, int delta) where T : unmanaged => throw Outside.Kernel();
    public static T ShuffleUp<T>(T variable, int delta, int width) where T : unmanaged => throw Outside.Kernel();
    public static T ShuffleXor<T>(T variable, int mask) where T : unmanaged => throw Outside.Kernel();
    public static T ShuffleXor<T>(T variable, int mask, int width) where T : unmanaged => throw Outside.Kernel();
    public static T Broadcast<T>(T value, int sourceLane) where T : unmanaged => throw Outside.Kernel();
}

public static class SharedMemory
{
    public static ArrayView<T> Allocate<T>(int extent) where T : unmanaged => throw Outside.Kernel();
    public static Runtime.ArrayView1D<T, Stride1D.Dense> Allocate1D<T>(Index1D extent) where T : unmanaged => throw Outside.Kernel();
    public static ArrayView<T> GetDynamic<T>() where T : unmanaged => throw Outside.Kernel();
}

/// <summary>Order between groups is checked by marks, not by fences.</summary>
public static class MemoryFence
{
    public static void GroupLevel() => throw Outside.Kernel();
    public static void DeviceLevel() => throw Outside.Kernel();
    public static void SystemLevel() => throw Outside.Kernel();
}
