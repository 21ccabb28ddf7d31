using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>Quantised rows become F32 on their way into packed panels and out of embeddings: the very numbers of <see cref="Blocks.Dequantise(DType, ReadOnlySpan{byte}, Span{float})"/>.</summary>
internal static unsafe class BlockRows<V> where V : struct, ILanes<V>
{
    private const int L = 32, LongL = 256, Half = LongL / 2;

    /// <summary>to[i] = the row's element start + i.</summary>
    /// <param name="start">Where a block begins, or the second half of a long one.</param>
    /// <param name="count">Ends where one could begin.</param>
    public static void Widen(DType type, byte* row, int start, int count, float* to)
    {
        switch (type)
        {
            case DType.Q8_0: Widen<Q8>(row + start / L * Q8.Bytes, count, to); break;
            case DType.Q4_0: Widen<Q4>(row + start / L * Q4.Bytes, count, to); break;
            case DType.Q4_K:
                for (int end = start + count; start < end; start += Half, to += Half)
                    WidenQ4K(row + start / LongL * 144, start / Half % 2, to);
                break;
            default:
                for (int end = start + count; start < end; start += Half, to += Half)
                    WidenQ6K(row + start / LongL * 210, start / Half % 2, to);
                break;
        }
    }

    private static void Widen<TBlock>(byte* block, int count, float* to) where TBlock : IBlock
    {
        for (float* end = to + count; to < end; to += L, block += TBlock.Bytes)
        {
            V d = V.Of(Halves.At(block));
            for (int i = 0; i < L / 2; i += V.Count)
            {
                TBlock.Load(block, i, out V low, out V high);
                (d * low).Store(to + i);
                (d * high).Store(to + L / 2 + i);
            }
        }
    }

    /// <summary>Half a block: four parts of 32 elements, two in the same bytes, with four scales and offsets at once (<see cref="Blocks.SixBits"/>).</summary>
    [SkipLocalsInit]
    private static void WidenQ4K(byte* block, int half, float* to)
    {
        uint first = *(uint*)(block + 4), second = *(uint*)(block + 8), third = *(uint*)(block + 12);
        (uint scales, uint offsets) = half == 0
            ? (first & 0x3F3F3F3F, second & 0x3F3F3F3F)
            : (third & 0x0F0F0F0F | first >> 2 & 0x30303030, third >> 4 & 0x0F0F0F0F | second >> 2 & 0x30303030);
        float* s = stackalloc float[4], m = stackalloc float[4];
        (Lanes4.LoadI8((sbyte*)&scales) * Lanes4.Of(Halves.At(block))).Store(s);
        (Lanes4.LoadI8((sbyte*)&offsets) * Lanes4.Of(-Halves.At(block + 2))).Store(m);
        V eight = V.Of(8);
        byte* q = block + 16 + half * Half / 2;
        for (int part = 0; part < 4; part += 2, q += L, to += 2 * L)
            for (int i = 0; i < L; i += V.Count)
            {
                V.LoadI4(q + i, out V low, out V high);
                V.MulAdd(low + eight, V.Of(s[part]), V.Of(m[part])).Store(to + i);
                V.MulAdd(high + eight, V.Of(s[part + 1]), V.Of(m[part + 1])).Store(to + L + i);
            }
    }

    /// <summary>Half a block: its numbers are put together as bytes, 32 at a time.</summary>
    [SkipLocalsInit]
    private static void WidenQ6K(byte* block, int half, float* to)
    {
        Vector256<ushort> first = Vector256.Load(block + half * 64).AsUInt16(), second = Vector256.Load(block + half * 64 + L).AsUInt16();
        Vector256<ushort> above = Vector256.Load(block + 128 + half * L).AsUInt16();
        sbyte* q = stackalloc sbyte[Half];
        Numbers(first, above << 4).Store(q);
        Numbers(second, above << 2).Store(q + L);
        Numbers(first >>> 4, above).Store(q + 2 * L);
        Numbers(second >>> 4, above >>> 2).Store(q + 3 * L);
        float* s = stackalloc float[8];
        (Lanes8.LoadI8((sbyte*)block + 192 + half * 8) * Lanes8.Of(Halves.At(block + 208))).Store(s);
        for (int i = 0; i < Half; i += V.Count)
            (V.Of(s[i / 16]) * V.LoadI8(q + i)).Store(to + i);
    }

    /// <summary>Of each byte the low four bits of one, bits 4 and 5 of the other, less 32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Numbers(Vector256<ushort> low, Vector256<ushort> high) =>
        (low.AsByte() & Vector256.Create((byte)15) | high.AsByte() & Vector256.Create((byte)48)).AsSByte() - Vector256.Create((sbyte)32);
}
