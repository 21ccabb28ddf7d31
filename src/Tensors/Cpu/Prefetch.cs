using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>Asks for a cache line before it is needed, where the machine can be asked.</summary>
internal static unsafe class Prefetch
{
    /// <summary>Into all levels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read(void* address)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(address);
    }
}
