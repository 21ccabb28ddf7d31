using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck;

/// <summary>What a backend's tests may tell KernelCheck of its buffers.</summary>
public static class KernelCheckBuffers
{
    /// <summary>Messages call the buffer so.</summary>
    public static TBuffer Named<TBuffer>(this TBuffer buffer, string name) where TBuffer : MemoryBuffer
    {
        buffer.Block.Name = name;
        return buffer;
    }

    /// <summary>The elements count as never written again: for a pool that hands memory out anew.</summary>
    public static unsafe void Forget<T>(this ArrayView<T> view) where T : unmanaged =>
        view.Block?.MarkRange(view.Start, view.LengthInBytes, written: false);
}
