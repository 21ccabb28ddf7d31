using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// The innermost loops over weights that are read once, where they lie: dot products of their rows, and sums of them. Four rows
/// at a time share every load of x. Where they are neighbours, so that all that a worker reads is one run, memory is asked for far
/// ahead: 1.2 times the bytes, with two threads, of what the processor's own guesses get from four runs far apart.
/// <para>The tiles are never inlined: the JIT, which cannot know how often their loops run, then keeps the sums in memory, at a third of the speed.</para>
/// </summary>
internal static unsafe class MatvecKernels<V> where V : struct, ILanes<V>
{
    /// <summary>Elements by which <see cref="Dots"/> asks for memory before it reads it.</summary>
    public const int Ahead = 4096;

    /// <summary>
    /// Four dot products for each row of x: y[m · yStride + i · apart] = Σ_d x[m][d] · w[i][d], with w's rows <paramref name="stride"/>
    /// elements apart: what is loaded of w, and widened, serves two or three rows of x. Every sum runs over one vector of partial
    /// sums, whatever tile it is in, so a row's result does not depend on its neighbours.
    /// </summary>
    /// <param name="end">Where w's run ends, if its four rows are neighbours; null: nothing is asked for ahead.</param>
    public static void Dots<TElement>(int rows, float* x, long xStride, void* w, long stride, int d, float* y, long yStride, long apart, byte* end = null) where TElement : IElement
    {
        for (int tile; rows > 0; rows -= tile, x += tile * xStride, y += tile * yStride)
        {
            tile = rows is 2 or 4 ? 2 : Math.Min(rows, 3);
            if (tile == 3)
                Dot3By4<TElement>(x, xStride, w, stride, d, y, yStride, apart, end);
            else if (tile == 2)
                Dot2By4<TElement>(x, xStride, w, stride, d, y, yStride, apart, end);
            else
                Dot4<TElement>(x, w, stride, d, y, apart, end);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Dot4<TElement>(float* x, void* w, long stride, int d, float* y, long apart, byte* end) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size, w2 = w1 + stride * TElement.Size, w3 = w2 + stride * TElement.Size, ahead = w0 + Ahead * TElement.Size;
        V zero = V.Of(0);
        V a0 = zero, a1 = zero, a2 = zero, a3 = zero;
        long i = 0;
        for (; i <= d - 2 * V.Count; i += 2 * V.Count)
        {
            Prefetch.Next(8 * V.Count * TElement.Size, ref ahead, end);
            Step4<TElement>(x, w0, w1, w2, w3, i, ref a0, ref a1, ref a2, ref a3);
            Step4<TElement>(x, w0, w1, w2, w3, i + V.Count, ref a0, ref a1, ref a2, ref a3);
        }
        for (; i <= d - V.Count; i += V.Count)
            Step4<TElement>(x, w0, w1, w2, w3, i, ref a0, ref a1, ref a2, ref a3);
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(a0), V.Sum(a1), V.Sum(a2), V.Sum(a3));
        AddTails<TElement>(1, x, 0, w, stride, i, d, y, 0, apart);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step4<TElement>(float* x, byte* w0, byte* w1, byte* w2, byte* w3, long i, ref V a0, ref V a1, ref V a2, ref V a3) where TElement : IElement
    {
        V a = V.Load(x + i);
        V.MulAdd(a, TElement.LoadFinite<V>(w0, i), ref a0);
        V.MulAdd(a, TElement.LoadFinite<V>(w1, i), ref a1);
        V.MulAdd(a, TElement.LoadFinite<V>(w2, i), ref a2);
        V.MulAdd(a, TElement.LoadFinite<V>(w3, i), ref a3);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Dot2By4<TElement>(float* x, long xStride, void* w, long stride, int d, float* y, long yStride, long apart, byte* end) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size, w2 = w1 + stride * TElement.Size, w3 = w2 + stride * TElement.Size, ahead = w0 + Ahead * TElement.Size;
        float* x1 = x + xStride;
        V zero = V.Of(0);
        V a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
        long i = 0;
        for (; i <= d - V.Count; i += V.Count)
        {
            Prefetch.Next(4 * V.Count * TElement.Size, ref ahead, end);
            V a = V.Load(x + i), b = V.Load(x1 + i);
            V v0 = TElement.LoadFinite<V>(w0, i);
            V.MulAdd(a, v0, ref a0);
            V.MulAdd(b, v0, ref b0);
            V v1 = TElement.LoadFinite<V>(w1, i);
            V.MulAdd(a, v1, ref a1);
            V.MulAdd(b, v1, ref b1);
            V v2 = TElement.LoadFinite<V>(w2, i);
            V.MulAdd(a, v2, ref a2);
            V.MulAdd(b, v2, ref b2);
            V v3 = TElement.LoadFinite<V>(w3, i);
            V.MulAdd(a, v3, ref a3);
            V.MulAdd(b, v3, ref b3);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(a0), V.Sum(a1), V.Sum(a2), V.Sum(a3));
        y += yStride;
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(b0), V.Sum(b1), V.Sum(b2), V.Sum(b3));
        AddTails<TElement>(2, x, xStride, w, stride, i, d, y - yStride, yStride, apart);
    }

    /// <summary>12 accumulators, 3 vectors of x and 1 of w fill 16 registers.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Dot3By4<TElement>(float* x, long xStride, void* w, long stride, int d, float* y, long yStride, long apart, byte* end) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size, w2 = w1 + stride * TElement.Size, w3 = w2 + stride * TElement.Size, ahead = w0 + Ahead * TElement.Size;
        float* x1 = x + xStride, x2 = x1 + xStride;
        V zero = V.Of(0);
        V a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero, c0 = zero, c1 = zero, c2 = zero, c3 = zero;
        long i = 0;
        for (; i <= d - V.Count; i += V.Count)
        {
            Prefetch.Next(4 * V.Count * TElement.Size, ref ahead, end);
            V a = V.Load(x + i), b = V.Load(x1 + i), c = V.Load(x2 + i);
            V v0 = TElement.LoadFinite<V>(w0, i);
            V.MulAdd(a, v0, ref a0);
            V.MulAdd(b, v0, ref b0);
            V.MulAdd(c, v0, ref c0);
            V v1 = TElement.LoadFinite<V>(w1, i);
            V.MulAdd(a, v1, ref a1);
            V.MulAdd(b, v1, ref b1);
            V.MulAdd(c, v1, ref c1);
            V v2 = TElement.LoadFinite<V>(w2, i);
            V.MulAdd(a, v2, ref a2);
            V.MulAdd(b, v2, ref b2);
            V.MulAdd(c, v2, ref c2);
            V v3 = TElement.LoadFinite<V>(w3, i);
            V.MulAdd(a, v3, ref a3);
            V.MulAdd(b, v3, ref b3);
            V.MulAdd(c, v3, ref c3);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(a0), V.Sum(a1), V.Sum(a2), V.Sum(a3));
        y += yStride;
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(b0), V.Sum(b1), V.Sum(b2), V.Sum(b3));
        y += yStride;
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(c0), V.Sum(c1), V.Sum(c2), V.Sum(c3));
        AddTails<TElement>(3, x, xStride, w, stride, i, d, y - 2 * yStride, yStride, apart);
    }

    /// <summary>Whether <see cref="Dots"/> reads these four rows right: an infinity or a NaN sends them to <see cref="Dot"/>.</summary>
    public static bool Readable<TElement>(void* w, long stride, int d) where TElement : IElement =>
        TElement.IsFinite(w, 0, d) && TElement.IsFinite(w, stride, d) && TElement.IsFinite(w, 2 * stride, d) && TElement.IsFinite(w, 3 * stride, d);

    /// <summary>One dot product, summed exactly as <see cref="Dots"/> sums each of its own.</summary>
    public static float Dot<TElement>(float* x, void* w, long start, int d) where TElement : IElement
    {
        V sum = V.Of(0);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            V.MulAdd(V.Load(x + i), TElement.Load<V>(w, start + i), ref sum);
        return i < d ? V.Sum(sum) + DotTail<TElement>(x, w, start, i, d) : V.Sum(sum);
    }

    /// <summary>y[d] += Σ_i x[i · apart] · w[i][d] over four rows of w, <paramref name="stride"/> elements apart.</summary>
    public static void Add4<TElement>(float* x, void* w, long stride, int d, float* y, long apart = 1) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size, w2 = w1 + stride * TElement.Size, w3 = w2 + stride * TElement.Size;
        V x0 = V.Of(x[0]), x1 = V.Of(x[apart]), x2 = V.Of(x[2 * apart]), x3 = V.Of(x[3 * apart]);
        long i = 0;
        for (; i <= d - V.Count; i += V.Count)
        {
            V low = x0 * TElement.Load<V>(w0, i), high = x2 * TElement.Load<V>(w2, i);
            V.MulAdd(x1, TElement.Load<V>(w1, i), ref low);
            V.MulAdd(x3, TElement.Load<V>(w3, i), ref high);
            (V.Load(y + i) + (low + high)).Store(y + i);
        }
        for (; i < d; i++)
            y[i] += x[0] * TElement.At(w0, i) + x[apart] * TElement.At(w1, i) + (x[2 * apart] * TElement.At(w2, i) + x[3 * apart] * TElement.At(w3, i));
    }

    /// <summary>y[d] += x · w[d]</summary>
    public static void Add<TElement>(float x, void* w, int d, float* y) where TElement : IElement
    {
        V scale = V.Of(x);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            V.MulAdd(scale, TElement.Load<V>(w, i), V.Load(y + i)).Store(y + i);
        for (; i < d; i++)
            y[i] += x * TElement.At(w, i);
    }

    /// <summary>What is left of each of a tile's dot products from its i-th element on.</summary>
    private static void AddTails<TElement>(int rows, float* x, long xStride, void* w, long stride, long i, int d, float* y, long yStride, long apart) where TElement : IElement
    {
        for (int row = 0; i < d && row < rows; row++)
            for (int j = 0; j < 4; j++)
                y[row * yStride + j * apart] += DotTail<TElement>(x + row * xStride, w, j * stride, i, d);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float DotTail<TElement>(float* x, void* w, long start, long i, int d) where TElement : IElement
    {
        float sum = 0;
        for (; i < d; i++)
            sum += x[i] * TElement.At(w, start + i);
        return sum;
    }
}
