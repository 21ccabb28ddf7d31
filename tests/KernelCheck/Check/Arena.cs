using System.Runtime.InteropServices;

namespace MoeFromScratch.KernelCheck;

/// <summary>
/// All device memory lies in one range of addresses, with one <see cref="Mark"/> per four bytes beside it, so that any reference tells by its
/// address whether it must be checked and where its mark is. Pages that are never touched cost nothing.
/// </summary>
internal static unsafe class Arena
{
    public const long Bytes = 512L << 20;
    private const int Page = 4096;

    public static readonly byte* Start = Aligned(Bytes);
    public static readonly Mark* Marks = (Mark*)Aligned(Bytes / 4 * sizeof(Mark));

    private static readonly Block?[] s_blocks = new Block?[Bytes / Page];
    private static readonly Dictionary<long, Stack<long>> s_free = [];
    private static readonly Lock s_lock = new();
    private static long s_end;

    private static byte* Aligned(long bytes)
    {
        byte* start = (byte*)NativeMemory.AllocZeroed((nuint)(bytes + Page));   // not touched until used
        return (byte*)(((nuint)start + Page - 1) & ~(nuint)(Page - 1));
    }

    public static Mark* MarkAt(byte* address) => Marks + ((nuint)(address - Start) >> 2);

    public static Block BlockAt(byte* address) => s_blocks[(address - Start) / Page]!;

    public static byte* Take(Block block, long bytes)
    {
        long room = Room(bytes);
        lock (s_lock)
        {
            long offset;
            if (s_free.TryGetValue(room, out Stack<long>? stack) && stack.TryPop(out long again))
                offset = again;
            else if (s_end + room > Bytes)
                throw new InvalidOperationException($"KernelCheck's {Bytes >> 20} MB of device memory are full");
            else
                (offset, s_end) = (s_end, s_end + room);
            Array.Fill(s_blocks, block, (int)(offset / Page), (int)(room / Page));
            return Start + offset;
        }
    }

    public static void Return(byte* start, long bytes)
    {
        NativeMemory.Clear(MarkAt(start), (nuint)(Room(bytes) / 4 * sizeof(Mark)));
        lock (s_lock)
        {
            if (!s_free.TryGetValue(Room(bytes), out Stack<long>? stack))
                s_free[Room(bytes)] = stack = new();
            stack.Push(start - Start);
        }
    }

    /// <summary>Whole pages, in eight steps per doubling, so that freed room fits again.</summary>
    private static long Room(long bytes)
    {
        long pages = Math.Max(1, (bytes + Page - 1) / Page), step = Math.Max(1, (long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)pages) / 16);
        return (pages + step - 1) / step * step * Page;
    }
}
