using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MoeFromScratch.KernelCheck;

/// <summary>What instrumented code calls before each access through a reference. Addresses outside of the arena are a thread's own variables.</summary>
internal static unsafe class Shadow
{
    public static void ReadWord(byte* address, Machine m, int site)
    {
        nuint offset = (nuint)(address - Arena.Start);
        if (offset < (nuint)Arena.Bytes)
            Read(Arena.Marks + (offset >> 2), address, m, site);
    }

    public static void WriteWord(byte* address, Machine m, int site)
    {
        nuint offset = (nuint)(address - Arena.Start);
        if (offset < (nuint)Arena.Bytes)
            Write(Arena.Marks + (offset >> 2), address, m, site);
    }

    public static void AtomicWord(byte* address, Machine m, int site)
    {
        nuint offset = (nuint)(address - Arena.Start);
        if (offset < (nuint)Arena.Bytes)
            Atomic(Arena.Marks + (offset >> 2), address, m, site);
    }

    public static void Read(byte* address, int bytes, Machine m, int site) => Each(address, bytes, m, site, 0);

    public static void Write(byte* address, int bytes, Machine m, int site) => Each(address, bytes, m, site, 1);

    public static void Atomic(byte* address, int bytes, Machine m, int site) => Each(address, bytes, m, site, 2);

    /// <summary>An asynchronous copy to here begins: a write that goes on until it arrives.</summary>
    public static void Begin(byte* address, int bytes, Machine m, int site) => Each(address, bytes, m, site, 3);

    /// <summary>It has arrived, for the thread that has waited for it.</summary>
    public static void Arrive(byte* address, int bytes, Machine m, int site) => Each(address, bytes, m, site, 4);

    /// <summary>Accesses of any size: word by word, or by the block's finer marks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Each(byte* address, int bytes, Machine m, int site, int access)
    {
        nuint offset = (nuint)(address - Arena.Start);
        if (offset >= (nuint)Arena.Bytes)
            return;
        if ((bytes & 3) != 0)
        {
            Block block = Arena.BlockAt(address);
            block.Split((bytes & 1) != 0 ? 1 : 2);
            Finer(block, address, bytes, m, site, access);
            return;
        }
        Mark* mark = Arena.Marks + (offset >> 2);
        for (int i = 0; i < bytes; i += 4, mark++)
            if (access == 0)
                Read(mark, address + i, m, site);
            else if (access == 1)
                Write(mark, address + i, m, site);
            else if (access == 2)
                Atomic(mark, address + i, m, site);
            else
                Copied(mark, address + i, m, site, access == 3);
    }

    private static void Finer(Block block, byte* address, int bytes, Machine m, int site, int access)
    {
        int grain = block.Grain;
        Mark* mark = block.Fine + (address - block.Start) / grain;
        for (int i = 0; i < bytes; i += grain, mark++)
            if (access == 0)
                Read(mark, address + i, m, site);
            else if (access == 1)
                Write(mark, address + i, m, site);
            else if (access == 2)
                Atomic(mark, address + i, m, site);
            else
                Copied(mark, address + i, m, site, access == 3);
    }

    private static void Copied(Mark* mark, byte* address, Machine m, int site, bool begins)
    {
        if (mark->Write == Mark.Split)
            Finer(Arena.BlockAt(address), address, 4, m, site, begins ? 3 : 4);
        else
        {
            if (begins)
                Write(mark, address, m, site);
            *mark = new() { Write = begins ? Mark.UnderWay : m.Me | (uint)site << Mark.SiteShift };
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Read(Mark* mark, byte* address, Machine m, int site)
    {
        // Already read in this interval by this thread, or by others so that nothing is added: the write was checked then.
        ulong r = mark->Read;
        if (((r ^ m.Me) & s_same[r & (Mark.Several | Mark.Cross)]) != 0)
            FirstRead(mark, address, m, site);
    }

    /// <summary>By the flags of a read: what must be equal for another read to add nothing.</summary>
    private static readonly ulong* s_same = Same();

    private static ulong* Same()
    {
        ulong* same = (ulong*)NativeMemory.Alloc(4 * sizeof(ulong));
        same[0] = Mark.Clock | Mark.Thread;
        same[Mark.Several] = Mark.Clock | Mark.Warp;
        same[Mark.Cross] = same[Mark.Cross | Mark.Several] = Mark.Clock;
        return same;
    }

    private static void FirstRead(Mark* mark, byte* address, Machine m, int site)
    {
        // Written before this launch, or by this group before the last barrier, or by this thread: all well.
        ulong w = mark->Write, r = mark->Read;
        if (w - 1 >= m.Launch - 1 && (w - m.Group >= m.Since - m.Group || (w & Mark.Others) != 0)
            && ((w ^ m.Me) & (Mark.Clock | Mark.Thread | Mark.Others)) != 0 && !ReadAfter(w, address, m, site))
            return;
        mark->Read = m.Me | (uint)site << Mark.SiteShift | Others(r, m);
    }

    /// <returns>Whether the mark itself is to be updated.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool ReadAfter(ulong w, byte* address, Machine m, int site)
    {
        if (w == Mark.Split)
        {
            Finer(Arena.BlockAt(address), address, 4, m, site, 0);
            return false;
        }
        if (w == Mark.UnderWay)
            throw m.UnderWay(address, "reads", site);
        if (w == 0)
        {
            if (m.ReportsUninitialised(address))
                throw m.Uninitialised(address, site);
        }
        else if (Conflicts(w, m))
            throw m.Race(address, "reads", site, w, (w & Mark.Atomic) != 0 ? "wrote (atomically)" : "wrote");
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(Mark* mark, byte* address, Machine m, int site)
    {
        if (!Mine(mark->Write, m) && !WriteAfter(mark->Write, "wrote", address, m, site)
            || !Mine(mark->Read, m) && !WriteAfter(mark->Read, "read", address, m, site))
            return;
        mark->Write = m.Me | (uint)site << Mark.SiteShift;
    }

    /// <summary>Before this launch, by this group before the last barrier, or by this thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Mine(ulong mark, Machine m) =>
        mark < m.Launch || mark - m.Group < m.Since - m.Group && (mark & Mark.Others) == 0
        || ((mark ^ m.Me) & (Mark.Clock | Mark.Thread | Mark.Others)) == 0;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool WriteAfter(ulong mark, string did, byte* address, Machine m, int site)
    {
        if (mark == Mark.Split)
        {
            Finer(Arena.BlockAt(address), address, 4, m, site, 1);
            return false;
        }
        if (mark == Mark.UnderWay)
            throw m.UnderWay(address, "writes", site);
        return Conflicts(mark, m) ? throw m.Race(address, "writes", site, mark, did) : true;
    }

    private static void Atomic(Mark* mark, byte* address, Machine m, int site)
    {
        ulong w = mark->Write, r = mark->Read;
        if (w == Mark.Split)
        {
            Finer(Arena.BlockAt(address), address, 4, m, site, 2);
            return;
        }
        if (w == Mark.UnderWay)
            throw m.UnderWay(address, "writes (atomically)", site);
        if (w == 0 && m.ReportsUninitialised(address))
            throw m.Uninitialised(address, site);
        if ((w & Mark.Atomic) == 0 && Conflicts(w, m))
            throw m.Race(address, "writes (atomically)", site, w, "wrote");
        if (Conflicts(r, m))
            throw m.Race(address, "writes (atomically)", site, r, "read");

        // This thread's own plain write stays on record: it is what other threads' atomics race with.
        bool plain = (w & Mark.Atomic) == 0 && w >= m.Since;
        if (!plain)
            mark->Write = m.Me | (uint)site << Mark.SiteShift | Mark.Atomic | ((w & Mark.Atomic) != 0 ? Others(w, m) : 0);
    }

    /// <summary>Is what left this mark unordered with what the running thread does now?</summary>
    private static bool Conflicts(ulong mark, Machine m)
    {
        if (mark < m.Launch)
            return false;
        if (mark < m.Group || (mark & Mark.Groups) != 0)
            return true;
        if (mark < m.Since)
            return false;
        if ((mark & Mark.Cross) != 0 || ((mark ^ m.Me) & Mark.Warp) != 0)
            return true;
        return mark >= m.WarpSince && ((mark & Mark.Several) != 0 || ((mark ^ m.Me) & Mark.Thread) != 0);
    }

    /// <summary>What a new mark must remember of the one it replaces.</summary>
    private static ulong Others(ulong mark, Machine m)
    {
        if (mark < m.Launch)
            return 0;
        if (mark < m.Group)
            return Mark.Groups;
        ulong kept = mark & Mark.Groups, x = mark ^ m.Me;
        if (mark >= m.Since)
        {
            kept |= mark & Mark.Cross;
            if ((x & Mark.Warp) != 0)
                kept |= Mark.Cross;
            else if (mark >= m.WarpSince)
                kept |= (x & Mark.Thread) != 0 ? Mark.Several : mark & Mark.Several;
        }
        return kept;
    }
}
