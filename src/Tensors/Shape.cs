using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors;

/// <summary>
/// Up to four dimensions, row-major, always contiguous. Written as a collection: <c>[T, D]</c>; <c>[]</c> is a scalar.
/// A value type without heap parts, because a decode step makes hundreds of them and may allocate nothing.
/// </summary>
[CollectionBuilder(typeof(Shape), nameof(Of))]
[DebuggerDisplay("{ToString(),nq}")]
public readonly record struct Shape
{
    public const int MaxRank = 4;

    private readonly int _d0, _d1, _d2, _d3;

    private Shape(ReadOnlySpan<int> dims)
    {
        Rank = dims.Length;
        _d0 = Rank > 0 ? dims[0] : 1;
        _d1 = Rank > 1 ? dims[1] : 1;
        _d2 = Rank > 2 ? dims[2] : 1;
        _d3 = Rank > 3 ? dims[3] : 1;
    }

    /// <exception cref="ArgumentException">More than four dimensions, or a negative one.</exception>
    public static Shape Of(ReadOnlySpan<int> dims)
    {
        if (dims.Length > MaxRank)
            throw new ArgumentException($"a tensor has at most {MaxRank} dimensions, not {dims.Length}");
        foreach (int d in dims)
            if (d < 0)
                throw new ArgumentException($"a dimension cannot be {d}");
        return new Shape(dims);
    }

    public int Rank { get; }

    public int this[int axis] => (uint)axis >= (uint)Rank
        ? throw new ArgumentOutOfRangeException(nameof(axis), $"shape {this} has no axis {axis}")
        : axis switch { 0 => _d0, 1 => _d1, 2 => _d2, _ => _d3 };

    /// <summary>Number of elements; 1 for a scalar.</summary>
    public long Count => checked((long)_d0 * _d1 * _d2 * _d3);

    /// <summary>The last dimension; 1 for a scalar.</summary>
    public int Cols => Rank == 0 ? 1 : this[Rank - 1];

    /// <summary>The product of all dimensions but the last: a tensor seen as a matrix is [Rows, Cols].</summary>
    public int Rows => Rank switch { 0 or 1 => 1, 2 => _d0, 3 => checked(_d0 * _d1), _ => checked(_d0 * _d1 * _d2) };

    public Enumerator GetEnumerator() => new(this);

    public override string ToString()
    {
        int[] dims = new int[Rank];
        for (int i = 0; i < Rank; i++)
            dims[i] = this[i];
        return $"[{string.Join(", ", dims)}]";
    }

    public struct Enumerator(Shape shape)
    {
        private int _axis = -1;
        public readonly int Current => shape[_axis];
        public bool MoveNext() => ++_axis < shape.Rank;
    }
}
