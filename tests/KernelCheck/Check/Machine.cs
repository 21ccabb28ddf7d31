using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck;

/// <summary>One accelerator's memory, its clock, and where the thread that runs just now is. Instrumented code gets it as its first argument.</summary>
internal sealed unsafe partial class Machine(Accelerator accelerator)
{
    public const int MaxThreads = 1024, MaxShared = 48 * 1024, Warp = 32;

    [ThreadStatic]
    private static Machine? s_running;

    // What kernels ask for.
    public int IdxX, IdxY, IdxZ, Linear, DimX, DimY, DimZ;
    public int GridX, GridY, GridZ, GridDimX, GridDimY, GridDimZ;
    public int State, Site;

    // Marks at or after these: this launch, this group, this group's last barrier, this warp's last barrier, now.
    public ulong Launch = 2ul << Mark.ClockShift, Group, Since, WarpSince, Me;

    private readonly HashSet<Block> _blocks = [];
    private readonly List<(ulong Since, int Group)> _groups = [];
    private readonly Lock _lock = new();
    private ulong _clock = 2;
    private ulong _now;
    private int _numbers;
    private bool _faulted;
    private KernelCode? _kernel;
    private KernelCheckOptions _options = KernelCheckOptions.Current;

    /// <summary>The machine that runs a kernel on this OS thread, if one does.</summary>
    public static Machine? Running => s_running;

    public Accelerator Accelerator { get; } = accelerator;

    public Block Allocate(MemoryBuffer buffer, Type element, long length, int elementSize)
    {
        ObjectDisposedException.ThrowIf(Accelerator.IsDisposed, Accelerator);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        lock (_lock)
        {
            Block block = new(this, buffer, $"buffer #{++_numbers} ({Names.Of(element)}[{length}])", length * elementSize);
            _blocks.Add(block);
            return block;
        }
    }

    public void Free(Block block)
    {
        lock (_lock)
        {
            // A closed accelerator has freed its buffers itself.
            if (_blocks.Remove(block))
                block.Free();
        }
    }

    /// <summary>The end of the accelerator: what is left was forgotten.</summary>
    public void Close()
    {
        Block[] left = [.. _blocks.OrderBy(b => b.Id)];
        foreach (Block block in left)
            block.Free();
        _blocks.Clear();
        _shared?.Free();
        _dynamic?.Free();
        if (left.Length > 0 && !_faulted && KernelCheckOptions.Current.Leaks)
            throw Fault.Of(FaultKind.Leak, $"{left.Length} of {_numbers} buffers were never disposed of: "
                + string.Join(", ", left.Take(10).Select(b => b.Label)) + (left.Length > 10 ? ", ..." : ""));
    }

    /// <summary>A view that a kernel is launched with.</summary>
    public void CheckView<T>(in ArrayView<T> view, int argument) where T : unmanaged
    {
        if (view.Block is not { } block)
            return;
        if (block.Freed)
            throw FaultHere(FaultKind.UseAfterFree, $"argument {argument} is a view of {block.Label}, which was disposed of");
        if (block.Machine != this)
            throw FaultHere(FaultKind.OtherAccelerator, $"argument {argument} is a view of {block.Label}, which belongs to another accelerator");
    }

    /// <summary>An element of a view, for the instrumented code: the check of its bounds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref T At<T>(in ArrayView<T> view, long index, Machine m, int site) where T : unmanaged
    {
        if ((ulong)index >= (ulong)view.Length)
            m.OutOfBounds(view, index, site);
        return ref *(T*)(view.Start + index * sizeof(T));
    }

    [DoesNotReturn, MethodImpl(MethodImplOptions.NoInlining)]
    private void OutOfBounds<T>(in ArrayView<T> view, long index, int site) where T : unmanaged
    {
        Site = site;
        string place = view.Block is null ? "nothing" : Describe(view.Start);
        throw FaultHere(FaultKind.OutOfBounds, string.Create(CultureInfo.InvariantCulture,
            $"index {index} of a view of {view.Length} {Names.Of(typeof(T))} that starts at {place}{(index < 0 ? "; a device would extend the int with zeros" : "")}"));
    }

    /// <summary>The divisor is a constant power of two: ILGPU shifts, which is another quotient below zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Divide(int x, int divisor, Machine m, int site)
    {
        if (divisor > 1 && (divisor & divisor - 1) == 0 && x < 0)
            m.Shifted(x, divisor, site);
        return x / divisor;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long DivideLong(long x, long divisor, Machine m, int site)
    {
        if (divisor > 1 && (divisor & divisor - 1) == 0 && x < 0)
            m.Shifted(x, divisor, site);
        return x / divisor;
    }

    /// <summary>The shift is arithmetic even where the type is unsigned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint DivideUnsigned(uint x, uint divisor, Machine m, int site)
    {
        if (divisor > 1 && (divisor & divisor - 1) == 0 && (int)x < 0)
            m.Shifted(x, divisor, site);
        return x / divisor;
    }

    [DoesNotReturn, MethodImpl(MethodImplOptions.NoInlining)]
    private void Shifted(long x, long divisor, int site)
    {
        Site = site;
        throw FaultHere(FaultKind.DeviceArithmetic, $"{x} / {divisor} becomes an arithmetic shift on a device and gives {(int)x >> (int)Math.Log2(divisor)}, "
            + $"not {x / divisor}: use a shift of a number that is not negative");
    }

    public bool ReportsUninitialised(byte* address) => _options.Uninitialised || Arena.BlockAt(address) is { } block && (block == _shared || block == _dynamic);

    public KernelFault Uninitialised(byte* address, int site)
    {
        Site = site;
        return FaultHere(FaultKind.Uninitialised, $"reads {Describe(address)}, which was never written");
    }

    public KernelFault Race(byte* address, string does, int site, ulong mark, string did)
    {
        Site = site;
        bool between = mark < Group || (mark & Mark.Groups) != 0;
        bool self = !between && Mark.ThreadOf(mark) == Linear;
        string other = self ? "another thread of its warp"
            : mark < Group ? $"thread {ThreadName(Mark.ThreadOf(mark))} of group {GroupName(GroupAt(mark))}"
            : between ? "another group" : $"thread {ThreadName(Mark.ThreadOf(mark))}";
        return FaultHere(between ? FaultKind.RaceBetweenGroups : FaultKind.RaceInGroup,
            $"{does} {Describe(address)}, which {other} {did}{_kernel!.LineOf(Mark.SiteOf(mark))} "
            + (between ? "in the same launch" : "with no barrier between"));
    }

    /// <summary>A fault of the thread that runs now, at <see cref="Site"/>.</summary>
    public KernelFault FaultHere(FaultKind kind, string message)
    {
        _faulted = true;
        string where = _inThread ? $" thread {ThreadName(Linear)} of group {GroupName((GridZ * GridDimY + GridY) * GridDimX + GridX)}{_kernel?.LineOf(Site)}" : "";
        return new(kind, $"{kind} in kernel {_kernel?.Name}:{where} {message}");
    }

    public string ThreadName(int linear) => Names.Of(linear, DimX, DimY, DimZ);

    private string GroupName(int linear) => Names.Of(linear, GridDimX, GridDimY, GridDimZ);

    private int GroupAt(ulong mark)
    {
        int index = _groups.FindLastIndex(g => g.Since <= mark);
        return index < 0 ? 0 : _groups[index].Group;
    }

    /// <summary>The allocation and the element that an address belongs to.</summary>
    private string Describe(byte* address)
    {
        Block block = Arena.BlockAt(address);
        if (block == _shared)
            foreach (SharedArray array in _arrays)
                if (address >= block.Start + array.Offset && address < block.Start + array.Offset + array.Bytes)
                    return $"element {(address - block.Start - array.Offset) / array.ElementSize} of shared memory {array.Element}[{array.Bytes / array.ElementSize}]";
        int size = block == _dynamic ? _dynamicElement : block.ElementSize;
        return $"element {(address - block.Start) / size} of {block.Label}";
    }

    private void Tick() => _now = ++_clock << Mark.ClockShift;
}
