namespace ILGPU;

public interface IIndex
{
    long Size { get; }
}

public readonly struct Index1D(int x) : IEquatable<Index1D>
{
    public static readonly Index1D Zero = new(0);
    public static readonly Index1D One = new(1);

    public int X { get; } = x;
    public int Size => X;
    public long LongSize => X;

    public static Index1D Min(Index1D first, Index1D second) => Math.Min(first.X, second.X);
    public static Index1D Max(Index1D first, Index1D second) => Math.Max(first.X, second.X);

    public static Index1D operator +(Index1D first, Index1D second) => new(first.X + second.X);
    public static Index1D operator -(Index1D first, Index1D second) => new(first.X - second.X);
    public static Index1D operator *(Index1D first, Index1D second) => new(first.X * second.X);
    public static Index1D operator /(Index1D first, Index1D second) => new(first.X / second.X);
    public static bool operator ==(Index1D first, Index1D second) => first.X == second.X;
    public static bool operator !=(Index1D first, Index1D second) => first.X != second.X;

    public static implicit operator Index1D(int idx) => new(idx);
    public static implicit operator int(Index1D idx) => idx.X;
    public static implicit operator LongIndex1D(Index1D index) => new(index.X);
    public static explicit operator uint(Index1D idx) => (uint)idx.X;

    bool IEquatable<Index1D>.Equals(Index1D other) => X == other.X;
    public override bool Equals(object? obj) => obj is Index1D other && X == other.X;
    public override int GetHashCode() => X;
    public override string ToString() => $"{X}";
}

public readonly struct LongIndex1D(long x) : IEquatable<LongIndex1D>
{
    public long X { get; } = x;
    public long Size => X;

    public static implicit operator LongIndex1D(long idx) => new(idx);
    public static implicit operator long(LongIndex1D idx) => idx.X;
    public static explicit operator Index1D(LongIndex1D index) => new(checked((int)index.X));
    public static bool operator ==(LongIndex1D first, LongIndex1D second) => first.X == second.X;
    public static bool operator !=(LongIndex1D first, LongIndex1D second) => first.X != second.X;

    bool IEquatable<LongIndex1D>.Equals(LongIndex1D other) => X == other.X;
    public override bool Equals(object? obj) => obj is LongIndex1D other && X == other.X;
    public override int GetHashCode() => X.GetHashCode();
    public override string ToString() => $"{X}";
}

public readonly struct Index2D(int x, int y) : IEquatable<Index2D>
{
    public static readonly Index2D Zero = new(0, 0);
    public static readonly Index2D One = new(1, 1);

    public int X { get; } = x;
    public int Y { get; } = y;
    public int Size => X * Y;
    public long LongSize => (long)X * Y;

    public static implicit operator Index2D((int, int) values) => new(values.Item1, values.Item2);
    public static bool operator ==(Index2D first, Index2D second) => first.X == second.X && first.Y == second.Y;
    public static bool operator !=(Index2D first, Index2D second) => !(first == second);

    public void Deconstruct(out int x, out int y) => (x, y) = (X, Y);
    bool IEquatable<Index2D>.Equals(Index2D other) => this == other;
    public override bool Equals(object? obj) => obj is Index2D other && this == other;
    public override int GetHashCode() => HashCode.Combine(X, Y);
    public override string ToString() => $"({X}, {Y})";
}

public readonly struct Index3D(int x, int y, int z) : IEquatable<Index3D>
{
    public static readonly Index3D Zero = new(0, 0, 0);
    public static readonly Index3D One = new(1, 1, 1);

    public int X { get; } = x;
    public int Y { get; } = y;
    public int Z { get; } = z;
    public Index2D XY => new(X, Y);
    public int Size => X * Y * Z;
    public long LongSize => (long)X * Y * Z;

    public static implicit operator Index3D((int, int, int) values) => new(values.Item1, values.Item2, values.Item3);
    public static bool operator ==(Index3D first, Index3D second) =>
        first.X == second.X && first.Y == second.Y && first.Z == second.Z;
    public static bool operator !=(Index3D first, Index3D second) => !(first == second);

    public void Deconstruct(out int x, out int y, out int z) => (x, y, z) = (X, Y, Z);
    bool IEquatable<Index3D>.Equals(Index3D other) => this == other;
    public override bool Equals(object? obj) => obj is Index3D other && this == other;
    public override int GetHashCode() => HashCode.Combine(X, Y, Z);
    public override string ToString() => $"({X}, {Y}, {Z})";
}
