using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Copies a piece of a matrix into a panel [k][width], the order in which <see cref="GemmKernels{V}"/> reads, widening 16-bit
/// elements and padding with zeros. Two ways cover every orientation: the panel's lines run along or across memory.
/// </summary>
internal static unsafe class Packing
{
    /// <summary>
    /// ⌈count/width⌉ panels, to[j · width + i] = from[j · stride + start + i] in the first: memory runs across them, so each of
    /// its rows is read once, from end to end.
    /// </summary>
    public static void Along<V, TElement>(void* from, long start, long stride, int count, int k, float* to, int width)
        where V : struct, ILanes<V> where TElement : IElement
    {
        int beyond = (width + V.Count - 1) / V.Count * V.Count - width;
        for (int j = 0; j < k; j++, start += stride)
        {
            float* line = to + (long)j * width;
            int i = 0;
            if (j < k - 1 && beyond <= stride)   // whole vectors: what they write beyond a line, the next line mends
                for (; i <= count - width; i += width, line += (long)k * width)
                    for (int v = 0; v < width; v += V.Count)
                        TElement.Load<V>(from, start + i + v).Store(line + v);
            for (; i < count; i += width, line += (long)k * width)
            {
                int v = 0, whole = Math.Min(width, count - i);
                for (; v <= whole - V.Count; v += V.Count)
                    TElement.Load<V>(from, start + i + v).Store(line + v);
                for (; v < whole; v++)
                    line[v] = TElement.At(from, start + i + v);
                for (; v < width; v++)
                    line[v] = 0;
            }
        }
    }

    /// <summary>The same from elements of any type of weights.</summary>
    public static void Along<V>(DType type, void* from, long start, long stride, int count, int k, float* to, int width) where V : struct, ILanes<V>
    {
        switch (type)
        {
            case DType.F32: Along<V, F32>(from, start, stride, count, k, to, width); break;
            case DType.BF16: Along<V, BF16>(from, start, stride, count, k, to, width); break;
            default: Along<V, F16>(from, start, stride, count, k, to, width); break;
        }
    }

    /// <summary>to[j · width + i] = from[i · stride + start + j] for i &lt; count: memory runs down the panel, so blocks of 4 × 4 and 2 × 4 are transposed.</summary>
    public static void Across<TElement>(void* from, long start, long stride, int count, int k, float* to, int width) where TElement : IElement
    {
        int i = 0;
        for (; i <= count - 4; i += 4, start += 4 * stride)
        {
            int j = 0;
            for (; j <= k - 4; j += 4)
            {
                float* block = to + (long)j * width + i;
                Vector128<float> a = TElement.Load<Lanes4>(from, start + j).Value;
                Vector128<float> b = TElement.Load<Lanes4>(from, start + stride + j).Value;
                Vector128<float> c = TElement.Load<Lanes4>(from, start + 2 * stride + j).Value;
                Vector128<float> d = TElement.Load<Lanes4>(from, start + 3 * stride + j).Value;
                Vector128<float> acLow = ZipLow(a, c), acHigh = ZipHigh(a, c), bdLow = ZipLow(b, d), bdHigh = ZipHigh(b, d);
                ZipLow(acLow, bdLow).Store(block);
                ZipHigh(acLow, bdLow).Store(block + width);
                ZipLow(acHigh, bdHigh).Store(block + 2 * width);
                ZipHigh(acHigh, bdHigh).Store(block + 3 * width);
            }
            for (; j < k; j++)
                for (int row = 0; row < 4; row++)
                    to[(long)j * width + i + row] = TElement.At(from, start + row * stride + j);
        }
        for (; i <= count - 2; i += 2, start += 2 * stride)
        {
            int j = 0;
            for (; j <= k - 4; j += 4)
            {
                float* block = to + (long)j * width + i;
                Vector128<float> a = TElement.Load<Lanes4>(from, start + j).Value, b = TElement.Load<Lanes4>(from, start + stride + j).Value;
                Vector128<double> low = ZipLow(a, b).AsDouble(), high = ZipHigh(a, b).AsDouble();
                *(double*)block = low[0];
                *(double*)(block + width) = low[1];
                *(double*)(block + 2 * width) = high[0];
                *(double*)(block + 3 * width) = high[1];
            }
            for (; j < k; j++)
            {
                to[(long)j * width + i] = TElement.At(from, start + j);
                to[(long)j * width + i + 1] = TElement.At(from, start + stride + j);
            }
        }
        for (; i < count; i++, start += stride)
            for (int j = 0; j < k; j++)
                to[(long)j * width + i] = TElement.At(from, start + j);
        for (; i < width; i++)
            for (int j = 0; j < k; j++)
                to[(long)j * width + i] = 0;
    }

    /// <summary>(a₀, b₀, a₁, b₁)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZipLow(Vector128<float> a, Vector128<float> b)
    {
        if (Sse.IsSupported)
            return Sse.UnpackLow(a, b);
        return AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(a, b) : Vector128.Create(a[0], b[0], a[1], b[1]);
    }

    /// <summary>(a₂, b₂, a₃, b₃)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZipHigh(Vector128<float> a, Vector128<float> b)
    {
        if (Sse.IsSupported)
            return Sse.UnpackHigh(a, b);
        return AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(a, b) : Vector128.Create(a[2], b[2], a[3], b[3]);
    }
}
