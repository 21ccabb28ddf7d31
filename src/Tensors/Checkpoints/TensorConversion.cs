using System.Runtime.InteropServices;

namespace MoeFromScratch.Tensors.Checkpoints;

/// <summary>Host tensors in other element types, some thousand elements at a time.</summary>
public static class TensorConversion
{
    private const int Chunk = 1 << 16;   // elements; whole blocks of every type

    /// <summary>The types that elements can be converted to.</summary>
    public static IReadOnlyList<DType> Targets { get; } = [DType.F32, DType.F16, DType.BF16, DType.Q8_0, DType.Q4_0];

    /// <summary>Whether elements can be read as F32 and, which needs whole blocks in each row, written as <paramref name="dtype"/>.</summary>
    public static bool CanBecome(DType dtype, DType from, Shape shape) => from == dtype
        || ((from.IsWeight() || from.IsQuantised()) && Targets.Contains(dtype) && shape.Cols % dtype.BlockLength() == 0);

    /// <summary>Writes a host tensor's elements: as they are where the type is the same, else through F32, rounded to nearest even.</summary>
    /// <exception cref="ArgumentException">There is no way from the one type to the other (<see cref="CanBecome"/>).</exception>
    public static void Write(Stream stream, Tensor x, DType dtype)
    {
        if (x.DType == dtype)
        {
            PlannedTensor.WriteBytes(stream, x);
            return;
        }
        if (!CanBecome(dtype, x.DType, x.Shape))
            throw new ArgumentException($"{x.Describe()} cannot be written as {dtype}");
        float[] values = new float[Math.Min(Chunk, x.Count)];
        byte[] bytes = new byte[dtype.Bytes(values.Length)];
        for (long at = 0; at < x.Count; at += Chunk)
        {
            Span<float> some = values.AsSpan(0, (int)Math.Min(Chunk, x.Count - at));
            Read(x, at, some);
            Span<byte> written = bytes.AsSpan(0, (int)dtype.Bytes(some.Length));
            Encode(dtype, some, written);
            stream.Write(written);
        }
        GC.KeepAlive(x);
    }

    /// <summary>The numbers that elements stand for.</summary>
    /// <param name="at">The first of them, a whole number of blocks from the start.</param>
    public static unsafe void Read(Tensor x, long at, Span<float> values)
    {
        ReadOnlySpan<byte> stored = new(x.Pointer<byte>() + x.DType.Bytes(at), checked((int)x.DType.Bytes(values.Length)));
        switch (x.DType)
        {
            case DType.F32:
                MemoryMarshal.Cast<byte, float>(stored).CopyTo(values);
                break;
            case DType.BF16:
                ReadOnlySpan<ushort> upper = MemoryMarshal.Cast<byte, ushort>(stored);
                for (int i = 0; i < values.Length; i++)
                    values[i] = DTypes.FromBF16(upper[i]);
                break;
            case DType.F16:
                ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<byte, ushort>(stored);
                for (int i = 0; i < values.Length; i++)
                    values[i] = DTypes.FromF16(halves[i]);
                break;
            default:
                Blocks.Dequantise(x.DType, stored, values);
                break;
        }
    }

    private static void Encode(DType dtype, ReadOnlySpan<float> values, Span<byte> bytes)
    {
        Span<ushort> halves = dtype.BlockLength() == 1 && dtype.Size() == sizeof(ushort) ? MemoryMarshal.Cast<byte, ushort>(bytes) : [];
        switch (dtype)
        {
            case DType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                break;
            case DType.BF16:
                for (int i = 0; i < values.Length; i++)
                    halves[i] = DTypes.ToBF16(values[i]);
                break;
            case DType.F16:
                for (int i = 0; i < values.Length; i++)
                    halves[i] = DTypes.ToF16(values[i]);
                break;
            default:
                Blocks.Quantise(dtype, values, bytes);
                break;
        }
    }
}
