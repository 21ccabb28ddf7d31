using System.Numerics;
using System.Runtime.InteropServices;

namespace MoeFromScratch.Tensors;

/// <summary>
/// Free lists of native memory by size class: four classes per power of two, so at most a fifth of a buffer is slack.
/// Buffers come back dirty; whoever takes one writes before reading. Not thread-safe: one backend, one caller.
/// </summary>
/// <param name="poison">Fill handed-out memory with NaNs, so that a kernel that reads before it writes is seen (tests).</param>
public sealed unsafe class BufferPool(bool poison = false) : IDisposable
{
    private const long Smallest = 256;
    private readonly Dictionary<long, Stack<NativeStorage>> _free = [];

    /// <summary>Buffers handed out and not yet returned.</summary>
    public int LiveBuffers { get; private set; }

    /// <summary>Bytes handed out and not yet returned, counted in whole size classes.</summary>
    public long LiveBytes { get; private set; }

    public NativeStorage Rent(long bytes)
    {
        long size = SizeClass(bytes);
        NativeStorage storage = _free.TryGetValue(size, out Stack<NativeStorage>? list) && list.Count > 0
            ? list.Pop()
            : new NativeStorage(size);
        LiveBuffers++;
        LiveBytes += size;
        if (poison)
            NativeMemory.Fill(storage.Pointer, (nuint)size, 0xFF);
        return storage;
    }

    public void Return(NativeStorage storage)
    {
        LiveBuffers--;
        LiveBytes -= storage.Bytes;
        if (!_free.TryGetValue(storage.Bytes, out Stack<NativeStorage>? list))
            _free.Add(storage.Bytes, list = new Stack<NativeStorage>());
        list.Push(storage);
    }

    public void Dispose()
    {
        foreach (Stack<NativeStorage> list in _free.Values)
            foreach (NativeStorage storage in list)
                storage.Dispose();
        _free.Clear();
    }

    /// <summary>The smallest of 2^n · {4, 5, 6, 7}/4 that holds <paramref name="bytes"/>.</summary>
    public static long SizeClass(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        if (bytes <= Smallest)
            return Smallest;
        long step = 1L << (BitOperations.Log2((ulong)(bytes - 1)) - 2);
        return checked((bytes + step - 1) / step * step);
    }
}
