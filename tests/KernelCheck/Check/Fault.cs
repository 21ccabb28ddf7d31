namespace MoeFromScratch.KernelCheck;

/// <summary>What a fault is, for tests that expect one.</summary>
public enum FaultKind
{
    /// <summary>An index or a sub-view outside of its view.</summary>
    OutOfBounds,
    /// <summary>A wide access at an address that is no multiple of its width.</summary>
    Misaligned,
    /// <summary>A read of memory that nobody has written.</summary>
    Uninitialised,
    /// <summary>Two threads of a group touch an element with no barrier between, and one writes.</summary>
    RaceInGroup,
    /// <summary>Two groups of a launch touch an element, and one writes without an atomic.</summary>
    RaceBetweenGroups,
    /// <summary>Shared memory that an asynchronous copy is on its way to.</summary>
    UnderWay,
    /// <summary>Some threads wait where others do not.</summary>
    Divergence,
    /// <summary>More shared memory than a device has, or than was configured.</summary>
    SharedMemory,
    /// <summary>Integer arithmetic that a device does otherwise than .NET.</summary>
    DeviceArithmetic,
    /// <summary>A buffer that was disposed of before.</summary>
    UseAfterFree,
    /// <summary>A buffer disposed of twice.</summary>
    DoubleFree,
    /// <summary>Buffers left at the end of their accelerator.</summary>
    Leak,
    /// <summary>A view of another accelerator.</summary>
    OtherAccelerator,
    /// <summary>A launch that no device takes: too many threads, an empty grid.</summary>
    Launch,
    /// <summary>A construct that ILGPU's compiler refuses.</summary>
    Refused,
}

/// <summary>What a device would have done wrong in silence: the message names kernel, buffer, index, threads and lines.</summary>
public sealed class KernelFault(FaultKind kind, string message) : Exception(message)
{
    public FaultKind Kind { get; } = kind;
}

internal static class Fault
{
    /// <summary>A fault at the place where the running kernel of this OS thread is, or on the host.</summary>
    public static KernelFault Of(FaultKind kind, string message)
    {
        Machine? machine = Machine.Running;
        return machine is null ? new(kind, $"{kind} on the host: {message}") : machine.FaultHere(kind, message);
    }
}
