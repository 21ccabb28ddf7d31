namespace MoeFromScratch.KernelCheck;

/// <summary>
/// Who wrote and who read four bytes last. Each is clock (34 bits), thread of its group (10), place in the code (16), flags (4);
/// the clock ticks at launches, groups and barriers, so that marks age by themselves and are never cleared. 0 is never.
/// </summary>
internal struct Mark
{
    public const int ClockShift = 30, ThreadShift = 20, SiteShift = 4;
    public const ulong Clock = ~0ul << ClockShift;
    public const ulong Thread = 1023ul << ThreadShift;
    public const ulong Warp = 992ul << ThreadShift;

    /// <summary>Other threads of the warp did so in this interval too.</summary>
    public const ulong Several = 1;
    /// <summary>Other warps of the group did so in this interval too.</summary>
    public const ulong Cross = 2;
    /// <summary>Other groups did so in this launch too.</summary>
    public const ulong Groups = 4;
    /// <summary>Written by an atomic.</summary>
    public const ulong Atomic = 8;
    public const ulong Others = Several | Cross | Groups;

    /// <summary>Written by the host.</summary>
    public const ulong Host = 1ul << ClockShift;
    /// <summary>Look into the block's finer marks.</summary>
    public const ulong Split = ulong.MaxValue;

    /// <summary>An asynchronous copy is on its way here.</summary>
    public const ulong UnderWay = ulong.MaxValue - 1;

    public ulong Write, Read;

    public static int SiteOf(ulong mark) => (int)(mark >> SiteShift) & 0xffff;
    public static int ThreadOf(ulong mark) => (int)(mark >> ThreadShift) & 1023;
}
