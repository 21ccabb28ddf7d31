namespace ILGPU;

/// <summary>Sixteen bits: five of exponent, ten of fraction. Arithmetic is that of float, rounded.</summary>
public readonly struct Half : IEquatable<Half>
{
    public static readonly Half Zero = new(System.Half.Zero);
    public static readonly Half One = new((System.Half)1f);
    public static readonly Half MaxValue = new(System.Half.MaxValue);
    public static readonly Half MinValue = new(System.Half.MinValue);
    public static readonly Half NaN = new(System.Half.NaN);
    public static readonly Half PositiveInfinity = new(System.Half.PositiveInfinity);
    public static readonly Half NegativeInfinity = new(System.Half.NegativeInfinity);

    private readonly System.Half _value;

    private Half(System.Half value) => _value = value;

    internal static Half FromBits(ushort bits) => new(BitConverter.UInt16BitsToHalf(bits));
    internal ushort Bits => BitConverter.HalfToUInt16Bits(_value);

    public static bool IsNaN(Half half) => System.Half.IsNaN(half._value);
    public static bool IsInfinity(Half half) => System.Half.IsInfinity(half._value);
    public static bool IsFinite(Half half) => System.Half.IsFinite(half._value);
    public static Half Abs(Half half) => new(System.Half.Abs(half._value));

    public static implicit operator float(Half halfValue) => (float)halfValue._value;
    public static implicit operator double(Half halfValue) => (double)halfValue._value;
    public static explicit operator Half(float floatValue) => new((System.Half)floatValue);
    public static explicit operator Half(double doubleValue) => new((System.Half)doubleValue);
    public static explicit operator Half(int intValue) => new((System.Half)intValue);
    public static explicit operator int(Half halfValue) => (int)halfValue._value;

    public static Half operator -(Half halfValue) => new(-halfValue._value);
    public static Half operator +(Half first, Half second) => new(first._value + second._value);
    public static Half operator -(Half first, Half second) => new(first._value - second._value);
    public static Half operator *(Half first, Half second) => new(first._value * second._value);
    public static Half operator /(Half first, Half second) => new(first._value / second._value);
    public static bool operator ==(Half first, Half second) => first._value == second._value;
    public static bool operator !=(Half first, Half second) => first._value != second._value;
    public static bool operator <(Half first, Half second) => first._value < second._value;
    public static bool operator >(Half first, Half second) => first._value > second._value;
    public static bool operator <=(Half first, Half second) => first._value <= second._value;
    public static bool operator >=(Half first, Half second) => first._value >= second._value;

    bool IEquatable<Half>.Equals(Half other) => _value.Equals(other._value);
    public override bool Equals(object? obj) => obj is Half other && _value.Equals(other._value);
    public override int GetHashCode() => _value.GetHashCode();
    public override string ToString() => $"{_value}";
}
