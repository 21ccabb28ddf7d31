namespace ILGPU;

public static class Interop
{
    public static unsafe int SizeOf<T>() where T : unmanaged => sizeof(T);

    public static uint FloatAsInt(float value) => BitConverter.SingleToUInt32Bits(value);
    public static ulong FloatAsInt(double value) => BitConverter.DoubleToUInt64Bits(value);
    public static ushort FloatAsInt(Half value) => value.Bits;
    public static float IntAsFloat(uint value) => BitConverter.UInt32BitsToSingle(value);
    public static double IntAsFloat(ulong value) => BitConverter.UInt64BitsToDouble(value);
    public static Half IntAsFloat(ushort value) => Half.FromBits(value);
}
