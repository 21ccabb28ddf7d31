using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Asks for cache lines before they are needed, where the machine can be asked: the processor's own guesses end where a row or a page
/// does, and do not reach as far ahead as memory that others use too takes to answer. Any address may be asked for.
/// </summary>
internal static unsafe class Prefetch
{
    private const int Line = 64;

    /// <summary>The first bytes of a run that ends at <paramref name="end"/>, all at once: what <see cref="Next"/>, which asks for what lies behind them, would wait for.</summary>
    public static void Begin(byte* run, int bytes, byte* end)
    {
        if (Sse.IsSupported)
            for (byte* last = (byte*)Math.Min((nint)end, (nint)(run + bytes)); run < last; run += Line)
                Sse.Prefetch0(run);
    }

    /// <summary>As many bytes of the run as are read meanwhile, from <paramref name="ahead"/> on, which they move.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Next(int bytes, ref byte* ahead, byte* end)
    {
        if (!Sse.IsSupported || ahead >= end)
            return;
        for (int i = 0; i < bytes; i += Line)   // every line that they touch: 72 bytes are more than one
            Sse.Prefetch0(ahead + i);
        ahead += bytes;
    }

    /// <summary>The first numbers of four rows that are <paramref name="apart"/> numbers apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void FourRows(float* first, long apart, int count)
    {
        if (!Sse.IsSupported)
            return;
        for (float* last = first + count; first < last; first += Line / sizeof(float))
        {
            Sse.Prefetch0(first);
            Sse.Prefetch0(first + apart);
            Sse.Prefetch0(first + 2 * apart);
            Sse.Prefetch0(first + 3 * apart);
        }
    }
}
