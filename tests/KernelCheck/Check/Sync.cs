using System.Reflection;

namespace MoeFromScratch.KernelCheck;

internal enum SyncKind
{
    Barrier, And, Or, PopCount, GroupBroadcast,
    WarpBarrier, Shuffle, ShuffleUp, ShuffleDown, ShuffleXor, WarpBroadcast, Ptx,
}

/// <summary>A place where threads wait for each other; a thread that stops there returns the number of this place.</summary>
/// <param name="Program">Inline PTX that they carry out together.</param>
internal sealed record SyncPoint(SyncKind Kind, string Name, int Site, PtxProgram? Program = null)
{
    public bool OfGroup => Kind < SyncKind.WarpBarrier;
}

/// <summary>A place in the code of a kernel or of a helper that was inlined into it.</summary>
internal readonly record struct Site(MethodBase Method, int Offset);
