using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>How a kernel reads a stored element: F32 as it is, the 16-bit types widened on the way in.</summary>
internal unsafe interface IElement
{
    static abstract float At(void* p, long i);
    static abstract V Load<V>(void* p, long i) where V : struct, ILanes<V>;
}

internal readonly unsafe struct F32 : IElement
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(void* p, long i) => ((float*)p)[i];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Load<V>(void* p, long i) where V : struct, ILanes<V> => V.Load((float*)p + i);
}

internal readonly unsafe struct BF16 : IElement
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(void* p, long i) => DTypes.FromBF16(((ushort*)p)[i]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Load<V>(void* p, long i) where V : struct, ILanes<V> => V.LoadBF16((ushort*)p + i);
}

internal readonly unsafe struct F16 : IElement
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(void* p, long i) => DTypes.FromF16(((ushort*)p)[i]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Load<V>(void* p, long i) where V : struct, ILanes<V> => V.LoadF16((ushort*)p + i);
}

/// <summary>The last lanes of a row whose length is no multiple of the width go through the same vector code, padded.</summary>
internal static unsafe class Tail
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static V Load<V, TElement>(void* p, long start, int count, float fill = 0)
        where V : struct, ILanes<V> where TElement : IElement
    {
        float* padded = stackalloc float[16];
        for (int i = 0; i < V.Count; i++)
            padded[i] = i < count ? TElement.At(p, start + i) : fill;
        return V.Load(padded);
    }

    public static V Load<V>(float* p, int count, float fill = 0) where V : struct, ILanes<V> => Load<V, F32>(p, 0, count, fill);

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void Store<V>(V value, float* p, int count) where V : struct, ILanes<V>
    {
        float* padded = stackalloc float[16];
        value.Store(padded);
        for (int i = 0; i < count; i++)
            p[i] = padded[i];
    }
}
