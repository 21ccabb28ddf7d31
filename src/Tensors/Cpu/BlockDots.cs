using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Dot products with quantised rows where they lie: <see cref="MatvecKernels{V}"/> for blocks. Whole numbers are widened in registers, x stays
/// F32, and a block's scale is multiplied in once, with the sum of its products: the function is the one that packing computes, apart from
/// the order of sums. Every dot product is summed in one order, whatever tile it is in.
/// <para>
/// Four rows share every load of x. They are neighbours, so all that a worker reads is one long run of memory, and it asks for that far
/// ahead by itself: with blocks as small as these it reads from the caches four times as fast as memory can follow when only asked
/// by the processor's own guesses.
/// </para>
/// <para>The tiles are never inlined: the JIT, which cannot know how often their loops run, then keeps the sums in memory, at a third of the speed.</para>
/// </summary>
internal static unsafe class BlockDots<V> where V : struct, ILanes<V>
{
    private const int L = 32, LongL = 256;

    /// <summary>Bytes by which memory is asked for before it is read. Measured: with 4096 it still comes too late while others use it too, with 12288 it is gone from the first level again.</summary>
    public const int Ahead = 6144;

    /// <summary>Four dot products for each row of x: y[m · yStride + i · apart] = Σ_d x[m][d] · w[i][d], with w's rows <paramref name="stride"/> bytes apart in a run that ends at <paramref name="end"/>.</summary>
    public static void Dots<TBlock>(int rows, float* x, long xStride, byte* w, long stride, int d, float* y, long yStride, long apart, byte* end) where TBlock : IBlock
    {
        for (int tile; rows > 0; rows -= tile, x += tile * xStride, y += tile * yStride)
        {
            tile = rows is 2 or 4 ? 2 : Math.Min(rows, 3);
            if (tile == 3)
                Dot3By4<TBlock>(x, xStride, w, stride, d, y, yStride, apart, end);
            else if (tile == 2)
                Dot2By4<TBlock>(x, xStride, w, stride, d, y, yStride, apart, end);
            else
                Dot4<TBlock>(x, w, stride, d, y, apart, end);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Dot4<TBlock>(float* x, byte* w0, long stride, int d, float* y, long apart, byte* end) where TBlock : IBlock
    {
        byte* w1 = w0 + stride, w2 = w1 + stride, w3 = w2 + stride, ahead = w0 + Ahead;
        V a0 = V.Of(0), a1 = a0, a2 = a0, a3 = a0;
        for (float* last = x + d; x < last; x += L, w0 += TBlock.Bytes, w1 += TBlock.Bytes, w2 += TBlock.Bytes, w3 += TBlock.Bytes)
        {
            Prefetch.Next(4 * TBlock.Bytes, ref ahead, end);
            Step<TBlock>(x, w0, ref a0);
            Step<TBlock>(x, w1, ref a1);
            Step<TBlock>(x, w2, ref a2);
            Step<TBlock>(x, w3, ref a3);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(a0), V.Sum(a1), V.Sum(a2), V.Sum(a3));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Dot2By4<TBlock>(float* x, long xStride, byte* w0, long stride, int d, float* y, long yStride, long apart, byte* end) where TBlock : IBlock
    {
        byte* w1 = w0 + stride, w2 = w1 + stride, w3 = w2 + stride, ahead = w0 + Ahead;
        V a0 = V.Of(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        for (float* last = x + d; x < last; x += L, w0 += TBlock.Bytes, w1 += TBlock.Bytes, w2 += TBlock.Bytes, w3 += TBlock.Bytes)
        {
            Prefetch.Next(4 * TBlock.Bytes, ref ahead, end);
            Step<TBlock>(x, x + xStride, w0, ref a0, ref b0);
            Step<TBlock>(x, x + xStride, w1, ref a1, ref b1);
            Step<TBlock>(x, x + xStride, w2, ref a2, ref b2);
            Step<TBlock>(x, x + xStride, w3, ref a3, ref b3);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(a0), V.Sum(a1), V.Sum(a2), V.Sum(a3));
        y += yStride;
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(b0), V.Sum(b1), V.Sum(b2), V.Sum(b3));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Dot3By4<TBlock>(float* x, long xStride, byte* w0, long stride, int d, float* y, long yStride, long apart, byte* end) where TBlock : IBlock
    {
        byte* w1 = w0 + stride, w2 = w1 + stride, w3 = w2 + stride, ahead = w0 + Ahead;
        V a0 = V.Of(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0, c0 = a0, c1 = a0, c2 = a0, c3 = a0;
        for (float* last = x + d; x < last; x += L, w0 += TBlock.Bytes, w1 += TBlock.Bytes, w2 += TBlock.Bytes, w3 += TBlock.Bytes)
        {
            Prefetch.Next(4 * TBlock.Bytes, ref ahead, end);
            Step<TBlock>(x, x + xStride, x + 2 * xStride, w0, ref a0, ref b0, ref c0);
            Step<TBlock>(x, x + xStride, x + 2 * xStride, w1, ref a1, ref b1, ref c1);
            Step<TBlock>(x, x + xStride, x + 2 * xStride, w2, ref a2, ref b2, ref c2);
            Step<TBlock>(x, x + xStride, x + 2 * xStride, w3, ref a3, ref b3, ref c3);
        }
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(a0), V.Sum(a1), V.Sum(a2), V.Sum(a3));
        y += yStride;
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(b0), V.Sum(b1), V.Sum(b2), V.Sum(b3));
        y += yStride;
        (y[0], y[apart], y[2 * apart], y[3 * apart]) = (V.Sum(c0), V.Sum(c1), V.Sum(c2), V.Sum(c3));
    }

    /// <summary>a += d · Σ x · q over a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<TBlock>(float* x, byte* w, ref V a) where TBlock : IBlock
    {
        TBlock.Load(w, 0, out V low, out V high);
        V sum = V.Load(x) * low;
        V.MulAdd(V.Load(x + L / 2), high, ref sum);
        for (int i = V.Count; i < L / 2; i += V.Count)
        {
            TBlock.Load(w, i, out low, out high);
            V.MulAdd(V.Load(x + i), low, ref sum);
            V.MulAdd(V.Load(x + L / 2 + i), high, ref sum);
        }
        V.MulAdd(sum, V.Of(Halves.At(w)), ref a);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<TBlock>(float* x0, float* x1, byte* w, ref V a, ref V b) where TBlock : IBlock
    {
        TBlock.Load(w, 0, out V low, out V high);
        V sum0 = V.Load(x0) * low, sum1 = V.Load(x1) * low;
        V.MulAdd(V.Load(x0 + L / 2), high, ref sum0);
        V.MulAdd(V.Load(x1 + L / 2), high, ref sum1);
        for (int i = V.Count; i < L / 2; i += V.Count)
        {
            TBlock.Load(w, i, out low, out high);
            V.MulAdd(V.Load(x0 + i), low, ref sum0);
            V.MulAdd(V.Load(x1 + i), low, ref sum1);
            V.MulAdd(V.Load(x0 + L / 2 + i), high, ref sum0);
            V.MulAdd(V.Load(x1 + L / 2 + i), high, ref sum1);
        }
        V d = V.Of(Halves.At(w));
        V.MulAdd(sum0, d, ref a);
        V.MulAdd(sum1, d, ref b);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<TBlock>(float* x0, float* x1, float* x2, byte* w, ref V a, ref V b, ref V c) where TBlock : IBlock
    {
        TBlock.Load(w, 0, out V low, out V high);
        V sum0 = V.Load(x0) * low, sum1 = V.Load(x1) * low, sum2 = V.Load(x2) * low;
        V.MulAdd(V.Load(x0 + L / 2), high, ref sum0);
        V.MulAdd(V.Load(x1 + L / 2), high, ref sum1);
        V.MulAdd(V.Load(x2 + L / 2), high, ref sum2);
        for (int i = V.Count; i < L / 2; i += V.Count)
        {
            TBlock.Load(w, i, out low, out high);
            V.MulAdd(V.Load(x0 + i), low, ref sum0);
            V.MulAdd(V.Load(x1 + i), low, ref sum1);
            V.MulAdd(V.Load(x2 + i), low, ref sum2);
            V.MulAdd(V.Load(x0 + L / 2 + i), high, ref sum0);
            V.MulAdd(V.Load(x1 + L / 2 + i), high, ref sum1);
            V.MulAdd(V.Load(x2 + L / 2 + i), high, ref sum2);
        }
        V d = V.Of(Halves.At(w));
        V.MulAdd(sum0, d, ref a);
        V.MulAdd(sum1, d, ref b);
        V.MulAdd(sum2, d, ref c);
    }

    /// <summary>One dot product for each row of x with a row of long blocks, each widened once for all rows: y[m · yStride] = Σ_d x[m][d] · w[d]; w's run of rows ends at <paramref name="end"/>.</summary>
    [SkipLocalsInit]
    public static void LongDots(DType type, int rows, float* x, long xStride, byte* w, int d, float* y, long yStride, byte* end)
    {
        int bytes = type.BlockBytes();
        byte* ahead = w + Ahead;
        const int CacheLine = 64;
        byte* room = stackalloc byte[(LongL + rows * V.Count) * sizeof(float) + CacheLine];
        float* wide = (float*)((nint)(room + CacheLine - 1) & -CacheLine), sums = wide + LongL;      // no vector in two lines
        new Span<float>(sums, rows * V.Count).Clear();
        for (int k = 0; k < d; k += LongL)
        {
            Prefetch.Next(bytes, ref ahead, end);
            BlockRows<V>.Widen(type, w, k, LongL, wide);
            for (int m = 0; m < rows; m++)
            {
                float* line = x + m * xStride + k;
                V low = V.Of(0), high = low;
                for (int i = 0; i < LongL; i += 2 * V.Count)
                {
                    V.MulAdd(V.Load(line + i), V.Load(wide + i), ref low);
                    V.MulAdd(V.Load(line + i + V.Count), V.Load(wide + i + V.Count), ref high);
                }
                (V.Load(sums + m * V.Count) + (low + high)).Store(sums + m * V.Count);
            }
        }
        for (int m = 0; m < rows; m++)
            y[m * yStride] = V.Sum(V.Load(sums + m * V.Count));
    }
}
