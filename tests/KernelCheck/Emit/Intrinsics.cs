using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck;

/// <summary>
/// What instrumented code calls in place of ILGPU's own: <c>Type_Method</c>, with the machine and the place behind the other arguments.
/// </summary>
internal static class Intrinsics
{
    public static readonly Dictionary<string, SyncKind> Syncs = new()
    {
        ["Group_Barrier"] = SyncKind.Barrier,
        ["Group_BarrierAnd"] = SyncKind.And,
        ["Group_BarrierOr"] = SyncKind.Or,
        ["Group_BarrierPopCount"] = SyncKind.PopCount,
        ["Group_Broadcast"] = SyncKind.GroupBroadcast,
        ["Warp_Barrier"] = SyncKind.WarpBarrier,
        ["Warp_Shuffle"] = SyncKind.Shuffle,
        ["Warp_ShuffleUp"] = SyncKind.ShuffleUp,
        ["Warp_ShuffleDown"] = SyncKind.ShuffleDown,
        ["Warp_ShuffleXor"] = SyncKind.ShuffleXor,
        ["Warp_Broadcast"] = SyncKind.WarpBroadcast,
    };

    private static readonly ILookup<string, MethodInfo> s_methods =
        typeof(Intrinsics).GetMethods(BindingFlags.Static | BindingFlags.NonPublic).ToLookup(m => m.Name);

    /// <summary>Methods that report faults themselves need to know where they are called.</summary>
    public static bool MayFault(string type) => type is "ArrayView" or "ArrayView1D" or nameof(ArrayViewExtensions);

    public static MethodInfo? Find(string name, MethodInfo method)
    {
        Type[] generic = [.. method.DeclaringType!.GetGenericArguments(), .. method.GetGenericArguments()];
        IEnumerable<Type> expected = [.. method.IsStatic ? Type.EmptyTypes : [method.DeclaringType.MakeByRefType()],
            .. method.GetParameters().Select(p => p.ParameterType), typeof(Machine), typeof(int)];
        foreach (MethodInfo candidate in s_methods[name])
        {
            if (candidate.GetGenericArguments().Length != generic.Length)
                continue;
            MethodInfo made = generic.Length == 0 ? candidate : candidate.MakeGenericMethod(generic);
            if (made.GetParameters().Select(p => p.ParameterType).SequenceEqual(expected))
                return made;
        }
        return null;
    }

    static int Group_get_IdxX(Machine m, int site) => m.IdxX;
    static int Group_get_IdxY(Machine m, int site) => m.IdxY;
    static int Group_get_IdxZ(Machine m, int site) => m.IdxZ;
    static int Group_get_DimX(Machine m, int site) => m.DimX;
    static int Group_get_DimY(Machine m, int site) => m.DimY;
    static int Group_get_DimZ(Machine m, int site) => m.DimZ;
    static Index3D Group_get_Index(Machine m, int site) => new(m.IdxX, m.IdxY, m.IdxZ);
    static Index3D Group_get_Dimension(Machine m, int site) => new(m.DimX, m.DimY, m.DimZ);
    static int Group_get_LinearIndex(Machine m, int site) => m.Linear;
    static bool Group_get_IsFirstThread(Machine m, int site) => m.Linear == 0;
    static bool Group_get_IsLastThread(Machine m, int site) => m.Linear == m.DimX * m.DimY * m.DimZ - 1;

    static int Grid_get_IdxX(Machine m, int site) => m.GridX;
    static int Grid_get_IdxY(Machine m, int site) => m.GridY;
    static int Grid_get_IdxZ(Machine m, int site) => m.GridZ;
    static int Grid_get_DimX(Machine m, int site) => m.GridDimX;
    static int Grid_get_DimY(Machine m, int site) => m.GridDimY;
    static int Grid_get_DimZ(Machine m, int site) => m.GridDimZ;
    static Index3D Grid_get_Index(Machine m, int site) => new(m.GridX, m.GridY, m.GridZ);
    static Index3D Grid_get_Dimension(Machine m, int site) => new(m.GridDimX, m.GridDimY, m.GridDimZ);
    static int Grid_get_LinearIndex(Machine m, int site) => (m.GridZ * m.GridDimY + m.GridY) * m.GridDimX + m.GridX;

    static int Grid_get_GlobalLinearIndex(Machine m, int site) => Grid_get_LinearIndex(m, site) * m.DimX * m.DimY * m.DimZ + m.Linear;

    static Index3D Grid_get_GlobalIndex(Machine m, int site) =>
        new(m.GridX * m.DimX + m.IdxX, m.GridY * m.DimY + m.IdxY, m.GridZ * m.DimZ + m.IdxZ);

    static int Warp_get_WarpSize(Machine m, int site) => Machine.Warp;
    static int Warp_get_LaneIdx(Machine m, int site) => m.Linear & Machine.Warp - 1;
    static int Warp_get_WarpIdx(Machine m, int site) => m.Linear / Machine.Warp;
    static bool Warp_get_IsFirstLane(Machine m, int site) => (m.Linear & Machine.Warp - 1) == 0;
    static bool Warp_get_IsLastLane(Machine m, int site) => (m.Linear & Machine.Warp - 1) == Machine.Warp - 1;

    static ArrayView<T> SharedMemory_Allocate<T>(int extent, Machine m, int site) where T : unmanaged => m.Shared<T>(extent, site);

    static ArrayView1D<T, Stride1D.Dense> SharedMemory_Allocate1D<T>(Index1D extent, Machine m, int site) where T : unmanaged =>
        m.Shared<T>(extent, site);

    static ArrayView<T> SharedMemory_GetDynamic<T>(Machine m, int site) where T : unmanaged => m.Dynamic<T>(site);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ref T ArrayView_get_Item<T>(in ArrayView<T> view, int index, Machine m, int site) where T : unmanaged =>
        ref Machine.At(view, index, m, site);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ref T ArrayView_get_Item<T>(in ArrayView<T> view, long index, Machine m, int site) where T : unmanaged =>
        ref Machine.At(view, index, m, site);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ref T ArrayView_get_Item<T>(in ArrayView<T> view, Index1D index, Machine m, int site) where T : unmanaged =>
        ref Machine.At(view, index.X, m, site);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ref T ArrayView_get_Item<T>(in ArrayView<T> view, LongIndex1D index, Machine m, int site) where T : unmanaged =>
        ref Machine.At(view, index.X, m, site);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ref T ArrayView1D_get_Item<T, TStride>(in ArrayView1D<T, TStride> view, Index1D index, Machine m, int site)
        where T : unmanaged where TStride : struct, IStride1D => ref Machine.At(view.Base, index.X, m, site);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ref T ArrayView1D_get_Item<T, TStride>(in ArrayView1D<T, TStride> view, LongIndex1D index, Machine m, int site)
        where T : unmanaged where TStride : struct, IStride1D => ref Machine.At(view.Base, index.X, m, site);
}
