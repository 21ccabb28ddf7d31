using ILGPU;
using ILGPU.Runtime;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>Elements as floats, or as the bits of a 16-bit type (of which blocks of anything else may be made); the other view is empty.</summary>
public struct ElementView
{
    public ArrayView<float> Floats;
    public ArrayView<ushort> Halves;

    internal static ElementView Of(ArrayView<float> x) => new() { Floats = x };
}

/// <summary>Four floats, loaded and stored at once where they lie at a multiple of 16 bytes.</summary>
public struct F4
{
    public float X, Y, Z, W;
}

public struct F2
{
    public float X, Y;
}

/// <summary>Four 16-bit elements.</summary>
public struct H4
{
    public ushort X, Y, Z, W;
}

/// <summary>
/// Where an element of a weight comes from: all that products ask of it, so that a type that packs elements in blocks is one struct more
/// (tests/Gpu.Tests/Q8.cs tries it). Arithmetic is done in F32.
/// </summary>
internal interface IWeight
{
    static abstract float At(ElementView x, long i);

    /// <summary>Elements i … i + 3; i is a multiple of four, and the view of plain elements begins at a multiple of 16 bytes.</summary>
    static abstract F4 Four(ElementView x, long i);
}

/// <summary>A weight of which each element is stored by itself: it can be written, and copied as it lies.</summary>
internal interface IElement : IWeight
{
    static abstract void Store(ElementView y, long i, float value);

    /// <summary>Elements i and i + 1; as <see cref="IWeight.Four"/>, but their place is a multiple of two elements.</summary>
    static abstract F2 Two(ElementView x, int i);

    /// <summary>Elements i … i + 3 of <paramref name="shared"/> = j … j + 3 of <paramref name="x"/> as <see cref="Ptx.Copy(ArrayView{F4}, int, ArrayView{F4}, long, bool)"/>, both places as in <see cref="IWeight.Four"/>.</summary>
    static abstract void CopyFour(ElementView shared, int i, ElementView x, long j, bool isThere);
}

internal struct F32 : IElement
{
    public static float At(ElementView x, long i) => x.Floats[i];

    public static void Store(ElementView y, long i, float value) => y.Floats[i] = value;

    public static F4 Four(ElementView x, long i) => x.Floats.AsAligned(16).Cast<F4>()[i >> 2];

    public static F2 Two(ElementView x, int i) => x.Floats.AsAligned(16).Cast<F2>()[i >> 1];

    public static void CopyFour(ElementView shared, int i, ElementView x, long j, bool isThere) =>
        Ptx.Copy(shared.Floats.AsAligned(16).Cast<F4>(), i >> 2, x.Floats.AsAligned(16).Cast<F4>(), j >> 2, isThere);
}

/// <summary>bfloat16: the upper half of an F32. ILGPU knows no such type.</summary>
internal struct BF16 : IElement
{
    public static float At(ElementView x, long i) => Widen(x.Halves[i]);

    public static void Store(ElementView y, long i, float value)
    {
        uint bits = Interop.FloatAsInt(value);
        bool isNaN = (bits & 0x7FFFFFFF) > 0x7F800000;
        y.Halves[i] = (ushort)(isNaN ? (bits >> 16) | 0x40 : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    public static F4 Four(ElementView x, long i)
    {
        H4 h = x.Halves.AsAligned(16).Cast<H4>()[i >> 2];
        return new F4 { X = Widen(h.X), Y = Widen(h.Y), Z = Widen(h.Z), W = Widen(h.W) };
    }

    public static F2 Two(ElementView x, int i)
    {
        uint two = x.Halves.AsAligned(16).Cast<uint>()[i >> 1];
        return new F2 { X = Interop.IntAsFloat(two << 16), Y = Interop.IntAsFloat(two & 0xFFFF0000) };
    }

    public static void CopyFour(ElementView shared, int i, ElementView x, long j, bool isThere) =>
        Ptx.Copy(shared.Halves.AsAligned(16).Cast<H4>(), i >> 2, x.Halves.AsAligned(16).Cast<H4>(), j >> 2, isThere);

    private static float Widen(ushort bits) => Interop.IntAsFloat((uint)bits << 16);
}

/// <summary>IEEE 754 binary16, by integer arithmetic: it needs no type that some devices lack.</summary>
internal struct F16 : IElement
{
    private const float ExponentGap = 5.192296858534828e33f;   // 2^112: 127 − 15

    public static float At(ElementView x, long i) => Widen(x.Halves[i]);

    public static void Store(ElementView y, long i, float value)
    {
        uint bits = Interop.FloatAsInt(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7FFFFFFF;
        uint half;
        if (magnitude > 0x7F800000)
            half = 0x7E00 | ((magnitude >> 13) & 0x3FF);                         // a NaN, quiet
        else if (magnitude >= 0x47800000)
            half = 0x7C00;                                                       // 65536 and more
        else if (magnitude < 0x38800000)
            half = Interop.FloatAsInt(Interop.IntAsFloat(magnitude) + 0.5f) - 0x3F000000;   // below 2^−14: the sum rounds to steps of 2^−24
        else
            half = (magnitude - 0x38000000 + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
        y.Halves[i] = (ushort)(sign | half);
    }

    public static F4 Four(ElementView x, long i)
    {
        H4 h = x.Halves.AsAligned(16).Cast<H4>()[i >> 2];
        return new F4 { X = Widen(h.X), Y = Widen(h.Y), Z = Widen(h.Z), W = Widen(h.W) };
    }

    public static F2 Two(ElementView x, int i)
    {
        uint two = x.Halves.AsAligned(16).Cast<uint>()[i >> 1];
        return new F2 { X = Widen((ushort)two), Y = Widen((ushort)(two >> 16)) };
    }

    public static void CopyFour(ElementView shared, int i, ElementView x, long j, bool isThere) =>
        Ptx.Copy(shared.Halves.AsAligned(16).Cast<H4>(), i >> 2, x.Halves.AsAligned(16).Cast<H4>(), j >> 2, isThere);

    private static float Widen(ushort bits)
    {
        uint magnitude = (uint)(bits & 0x7FFF) << 13, sign = (uint)(bits & 0x8000) << 16;
        uint value = magnitude >= 0x0F800000 ? magnitude | 0x7F800000 : Interop.FloatAsInt(Interop.IntAsFloat(magnitude) * ExponentGap);
        return Interop.IntAsFloat(value | sign);
    }
}

public sealed partial class GpuBackend
{
    private ElementView Elements(Tensor x) =>
        x.DType == DType.F32 ? new ElementView { Floats = View<float>(x), Halves = ArrayView<ushort>.Empty }
        : new ElementView { Floats = ArrayView<float>.Empty, Halves = View<ushort>(x) };
}
