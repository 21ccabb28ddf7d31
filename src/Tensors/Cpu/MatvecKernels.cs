using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// The innermost loops over weights that are read once, where they lie: dot products of their rows, and sums of them. Four rows
/// at a time share every load of x and give the processor four places of memory to fetch from. It fetches ahead best where
/// each of the four is a long run of its own, so whoever calls takes them far apart and goes on with their neighbours.
/// </summary>
internal static unsafe class MatvecKernels<V> where V : struct, ILanes<V>
{
    /// <summary>
    /// Four dot products: y[i · apart] = Σ_d x[d] · w[i][d] with w's rows <paramref name="stride"/> elements apart. Every sum runs
    /// over two vectors of partial sums, so a row's result does not depend on its neighbours: 8 accumulators, 2 vectors of x and
    /// 1 of w, 11 of 16 registers.
    /// </summary>
    public static void Dot4<TElement>(float* x, void* w, long stride, int d, float* y, long apart = 1) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size, w2 = w1 + stride * TElement.Size, w3 = w2 + stride * TElement.Size;
        V zero = V.Of(0);
        V s00 = zero, s01 = zero, s10 = zero, s11 = zero, s20 = zero, s21 = zero, s30 = zero, s31 = zero;
        long i = 0;
        for (; i <= d - 2 * V.Count; i += 2 * V.Count)
        {
            V x0 = V.Load(x + i), x1 = V.Load(x + i + V.Count);
            s00 = V.MulAdd(x0, TElement.LoadFinite<V>(w0, i), s00);
            s01 = V.MulAdd(x1, TElement.LoadFinite<V>(w0, i + V.Count), s01);
            s10 = V.MulAdd(x0, TElement.LoadFinite<V>(w1, i), s10);
            s11 = V.MulAdd(x1, TElement.LoadFinite<V>(w1, i + V.Count), s11);
            s20 = V.MulAdd(x0, TElement.LoadFinite<V>(w2, i), s20);
            s21 = V.MulAdd(x1, TElement.LoadFinite<V>(w2, i + V.Count), s21);
            s30 = V.MulAdd(x0, TElement.LoadFinite<V>(w3, i), s30);
            s31 = V.MulAdd(x1, TElement.LoadFinite<V>(w3, i + V.Count), s31);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(s00 + s01), V.Sum(s10 + s11), V.Sum(s20 + s21), V.Sum(s30 + s31));
        for (int row = 0; i < d && row < 4; row++)
            y[row * apart] += DotTail<TElement>(x, w, row * stride, i, d);
    }

    /// <summary>
    /// Two dot products for each of two rows of x: y[m][i · apart] = Σ_d x[m][d] · w[i][d], summed exactly as <see cref="Dot4"/> sums.
    /// What is widened serves twice: 8 accumulators, 4 vectors of x and 1 of w.
    /// </summary>
    public static void Dot2By2<TElement>(float* x, long xStride, void* w, long stride, int d, float* y, long yStride, long apart) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size;
        float* z = x + xStride;
        V zero = V.Of(0);
        V s00 = zero, s01 = zero, s10 = zero, s11 = zero, t00 = zero, t01 = zero, t10 = zero, t11 = zero;
        long i = 0;
        for (; i <= d - 2 * V.Count; i += 2 * V.Count)
        {
            V x0 = V.Load(x + i), x1 = V.Load(x + i + V.Count), z0 = V.Load(z + i), z1 = V.Load(z + i + V.Count);
            V a = TElement.LoadFinite<V>(w0, i);
            s00 = V.MulAdd(x0, a, s00);
            t00 = V.MulAdd(z0, a, t00);
            V b = TElement.LoadFinite<V>(w0, i + V.Count);
            s01 = V.MulAdd(x1, b, s01);
            t01 = V.MulAdd(z1, b, t01);
            V c = TElement.LoadFinite<V>(w1, i);
            s10 = V.MulAdd(x0, c, s10);
            t10 = V.MulAdd(z0, c, t10);
            V e = TElement.LoadFinite<V>(w1, i + V.Count);
            s11 = V.MulAdd(x1, e, s11);
            t11 = V.MulAdd(z1, e, t11);
        }
        (y[0], y[apart], y[yStride], y[yStride + apart]) = (V.Sum(s00 + s01), V.Sum(s10 + s11), V.Sum(t00 + t01), V.Sum(t10 + t11));
        for (int row = 0; i < d && row < 2; row++)
        {
            y[row * apart] += DotTail<TElement>(x, w, row * stride, i, d);
            y[yStride + row * apart] += DotTail<TElement>(z, w, row * stride, i, d);
        }
    }

    /// <summary>Whether <see cref="Dot4"/> reads these four rows right: an infinity or a NaN sends them to <see cref="Dot"/>.</summary>
    public static bool Readable<TElement>(void* w, long stride, int d) where TElement : IElement =>
        TElement.IsFinite(w, 0, d) && TElement.IsFinite(w, stride, d) && TElement.IsFinite(w, 2 * stride, d) && TElement.IsFinite(w, 3 * stride, d);

    /// <summary>One dot product, summed exactly as <see cref="Dot4"/> sums each of its four.</summary>
    public static float Dot<TElement>(float* x, void* w, long start, int d) where TElement : IElement
    {
        V s0 = V.Of(0), s1 = V.Of(0);
        int i = 0;
        for (; i <= d - 2 * V.Count; i += 2 * V.Count)
        {
            s0 = V.MulAdd(V.Load(x + i), TElement.Load<V>(w, start + i), s0);
            s1 = V.MulAdd(V.Load(x + i + V.Count), TElement.Load<V>(w, start + i + V.Count), s1);
        }
        float sum = V.Sum(s0 + s1);
        return i < d ? sum + DotTail<TElement>(x, w, start, i, d) : sum;
    }

    /// <summary>y[d] += Σ_i x[i · apart] · w[i][d] over four rows of w, <paramref name="stride"/> elements apart.</summary>
    public static void Add4<TElement>(float* x, void* w, long stride, int d, float* y, long apart = 1) where TElement : IElement
    {
        byte* w0 = (byte*)w, w1 = w0 + stride * TElement.Size, w2 = w1 + stride * TElement.Size, w3 = w2 + stride * TElement.Size;
        V x0 = V.Of(x[0]), x1 = V.Of(x[apart]), x2 = V.Of(x[2 * apart]), x3 = V.Of(x[3 * apart]);
        long i = 0;
        for (; i <= d - V.Count; i += V.Count)
        {
            V low = V.MulAdd(x1, TElement.Load<V>(w1, i), x0 * TElement.Load<V>(w0, i));
            V high = V.MulAdd(x3, TElement.Load<V>(w3, i), x2 * TElement.Load<V>(w2, i));
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

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float DotTail<TElement>(float* x, void* w, long start, long i, int d) where TElement : IElement
    {
        float sum = 0;
        for (; i < d; i++)
            sum += x[i] * TElement.At(w, start + i);
        return sum;
    }
}
