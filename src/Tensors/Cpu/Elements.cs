using System.Numerics;
using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>How a kernel reads a stored element: F32 as it is, the 16-bit types widened on the way in.</summary>
internal unsafe interface IElement
{
    /// <summary>Bytes.</summary>
    static abstract int Size { get; }
    static abstract float At(void* p, long i);
    static abstract V Load<V>(void* p, long i) where V : struct, ILanes<V>;

    /// <summary>As <see cref="Load"/> where all is finite, and maybe cheaper; an infinity or a NaN may come out as any number.</summary>
    static abstract V LoadFinite<V>(void* p, long i) where V : struct, ILanes<V>;

    /// <summary>Whether <see cref="LoadFinite"/> gives what <see cref="Load"/> gives.</summary>
    static abstract bool IsFinite(void* p, long start, int count);
}

internal readonly unsafe struct F32 : IElement
{
    public static int Size => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(void* p, long i) => ((float*)p)[i];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Load<V>(void* p, long i) where V : struct, ILanes<V> => V.Load((float*)p + i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V LoadFinite<V>(void* p, long i) where V : struct, ILanes<V> => Load<V>(p, i);

    public static bool IsFinite(void* p, long start, int count) => true;
}

internal readonly unsafe struct BF16 : IElement
{
    public static int Size => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(void* p, long i) => DTypes.FromBF16(((ushort*)p)[i]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Load<V>(void* p, long i) where V : struct, ILanes<V> => V.LoadBF16((ushort*)p + i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V LoadFinite<V>(void* p, long i) where V : struct, ILanes<V> => Load<V>(p, i);

    public static bool IsFinite(void* p, long start, int count) => true;
}

internal readonly unsafe struct F16 : IElement
{
    public static int Size => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(void* p, long i) => DTypes.FromF16(((ushort*)p)[i]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Load<V>(void* p, long i) where V : struct, ILanes<V> => V.LoadF16((ushort*)p + i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V LoadFinite<V>(void* p, long i) where V : struct, ILanes<V> => V.LoadFiniteF16((ushort*)p + i);

    /// <summary>Twice the bits drops the sign; infinities and NaNs have an exponent of ones and come out on top.</summary>
    public static bool IsFinite(void* p, long start, int count)
    {
        ushort* bits = (ushort*)p + start;
        Vector<ushort> top = Vector<ushort>.Zero;
        int i = 0;
        for (; i <= count - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector<ushort> h = Vector.Load(bits + i);
            top = Vector.Max(top, h + h);
        }
        bool finite = Vector.LessThanAll(top, new Vector<ushort>(0xF800));
        for (; i < count; i++)
            finite &= (bits[i] & 0x7C00) != 0x7C00;
        return finite;
    }
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
