namespace MoeFromScratch.Tensors;

/// <summary>How one element is stored. Arithmetic is always done in F32; the 16-bit types are storage.</summary>
public enum DType
{
    /// <summary>IEEE 754 binary32: activations, gradients, optimiser state.</summary>
    F32,
    /// <summary>bfloat16, the upper half of an F32: weights.</summary>
    BF16,
    /// <summary>IEEE 754 binary16: weights.</summary>
    F16,
    /// <summary>Token ids, slot lists, positions.</summary>
    I32,
    /// <summary>Integers as checkpoints and traces store them.</summary>
    I64,
    /// <summary>IEEE 754 binary64: read from files only.</summary>
    F64,
}

public static class DTypes
{
    /// <summary>Bytes per element.</summary>
    public static int Size(this DType dtype) => dtype switch
    {
        DType.F32 or DType.I32 => 4,
        DType.BF16 or DType.F16 => 2,
        _ => 8,
    };

    /// <summary>Whether <c>Linear</c>, <c>GatherRows</c> and the experts take weights of this type.</summary>
    public static bool IsWeight(this DType dtype) => dtype is DType.F32 or DType.BF16 or DType.F16;

    /// <summary>The F32 value of a bfloat16 bit pattern (exact).</summary>
    public static float FromBF16(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    /// <summary>The bfloat16 bits nearest to <paramref name="value"/>, ties to even; a NaN stays a (quiet) NaN.</summary>
    public static ushort ToBF16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
            return (ushort)((bits >> 16) | 0x40);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>The F32 value of a binary16 bit pattern (exact, subnormals kept).</summary>
    public static float FromF16(ushort bits) => (float)BitConverter.UInt16BitsToHalf(bits);

    /// <summary>The binary16 bits nearest to <paramref name="value"/>, ties to even, overflow to infinity.</summary>
    public static ushort ToF16(float value) => BitConverter.HalfToUInt16Bits((Half)value);
}
