using ILGPU;
using ILGPU.Runtime;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>The matrices of a product y = x · wᵀ, or of one for each expert.</summary>
public struct ProductArgs
{
    public ArrayView<float> X, X2;

    /// <summary>The row of X for each row of y, where the input says so.</summary>
    public ArrayView<int> Index;

    public ElementView W;

    /// <summary>Elements from one expert's matrix to the next one's.</summary>
    public long WExpert;

    public ArrayView<float> Y;
    public SlotView Slots;
    public int M, N, K;

    /// <summary>All rows begin at multiples of four elements.</summary>
    public Flag IsAligned;
}

internal static class ProductTile
{
    /// <summary>What a group computes, and how far it goes along K between two barriers.</summary>
    public const int M = 64, N = 64, K = 16;

    /// <summary>Each computes 4 × 4.</summary>
    public const int Threads = 256;

    /// <summary>Floats from one k to the next in shared memory: neighbours in k do not share a bank.</summary>
    public const int Row = 68;

    /// <summary>Four elements of a row into a tile in which k is the slow index.</summary>
    public static void Turn(ArrayView<float> tile, int row, int k, F4 v)
    {
        tile[k * Row + row] = v.X;
        tile[(k + 1) * Row + row] = v.Y;
        tile[(k + 2) * Row + row] = v.Z;
        tile[(k + 3) * Row + row] = v.W;
    }

    /// <summary>sums += the products of both tiles, of four rows from m on with four from n on.</summary>
    public static Sums16 Multiply(ArrayView<float> xs, ArrayView<float> ws, int m, int n, Sums16 sums)
    {
        for (int i = 0; i < K; i++)
        {
            F4 left = xs.AsAligned(16).Cast<F4>()[(i * Row + m) >> 2], right = ws.AsAligned(16).Cast<F4>()[(i * Row + n) >> 2];
            sums = Sums16.MulAdd(left, right, sums);
        }
        return sums;
    }
}

/// <summary>Sums of four rows and four columns, which a thread keeps in registers.</summary>
internal struct Sums16
{
    public F4 R0, R1, R2, R3;

    /// <summary>c + a · bᵀ</summary>
    public static Sums16 MulAdd(F4 a, F4 b, Sums16 c) => new() { R0 = MulAdd(a.X, b, c.R0), R1 = MulAdd(a.Y, b, c.R1), R2 = MulAdd(a.Z, b, c.R2), R3 = MulAdd(a.W, b, c.R3) };

    /// <summary>Rows times a factor each.</summary>
    public static Sums16 Scaled(Sums16 x, F4 f) => new() { R0 = Scaled(x.R0, f.X), R1 = Scaled(x.R1, f.Y), R2 = Scaled(x.R2, f.Z), R3 = Scaled(x.R3, f.W) };

    /// <summary>Rows become columns.</summary>
    public static Sums16 Turned(Sums16 x) => new()
    {
        R0 = new() { X = x.R0.X, Y = x.R1.X, Z = x.R2.X, W = x.R3.X },
        R1 = new() { X = x.R0.Y, Y = x.R1.Y, Z = x.R2.Y, W = x.R3.Y },
        R2 = new() { X = x.R0.Z, Y = x.R1.Z, Z = x.R2.Z, W = x.R3.Z },
        R3 = new() { X = x.R0.W, Y = x.R1.W, Z = x.R2.W, W = x.R3.W },
    };

    private static F4 MulAdd(float a, F4 b, F4 c) => new() { X = a * b.X + c.X, Y = a * b.Y + c.Y, Z = a * b.Z + c.Z, W = a * b.W + c.W };

    private static F4 Scaled(F4 x, float f) => new() { X = x.X * f, Y = x.Y * f, Z = x.Z * f, W = x.W * f };
}

/// <summary>Which rows a tile covers.</summary>
internal interface IProductRows
{
    /// <summary>The rows of tile number <paramref name="tile"/>, and the weights' number.</summary>
    static abstract TileRows Find(ProductArgs a, int tile);
}

internal struct TileRows
{
    public int First, End, Expert;
}

/// <summary>All rows.</summary>
internal struct DenseRows : IProductRows
{
    public static TileRows Find(ProductArgs a, int tile) => new() { First = tile * ProductTile.M, End = a.M, Expert = 0 };
}

/// <summary>Each expert's slots, as many tiles as they need; tiles beyond the last one find nothing to do.</summary>
internal struct ExpertRows : IProductRows
{
    public static TileRows Find(ProductArgs a, int tile)
    {
        if (a.Slots.Offsets.Length == 0)
            return DenseRows.Find(a, tile);
        TileRows found = default;
        int before = 0;
        for (int e = 0; e < a.Slots.Count; e++)
        {
            int start = a.Slots.Offsets[a.Slots.First + e], end = a.Slots.Offsets[a.Slots.First + e + 1];
            int tiles = (end - start + ProductTile.M - 1) >> 6;
            if (tile >= before && tile < before + tiles)
                found = new TileRows { First = start + (tile - before) * ProductTile.M, End = end, Expert = e };
            before += tiles;
        }
        return found;
    }
}

/// <summary>Where the rows of the left matrix come from.</summary>
internal interface IProductInput
{
    static abstract float At(ProductArgs a, int row, int k);

    static abstract F4 Four(ProductArgs a, int row, int k);
}

/// <summary>x[row, k]</summary>
internal struct PlainInput : IProductInput
{
    public static float At(ProductArgs a, int row, int k) => a.X[(long)row * a.K + k];

    public static F4 Four(ProductArgs a, int row, int k) => a.X.AsAligned(16).Cast<F4>()[((long)row * a.K + k) >> 2];
}

/// <summary>x[index[row], k]</summary>
internal struct GatheredInput : IProductInput
{
    public static float At(ProductArgs a, int row, int k) => PlainInput.At(a, a.Index[row], k);

    public static F4 Four(ProductArgs a, int row, int k) => PlainInput.Four(a, a.Index[row], k);
}

/// <summary>f(x[row, k]) · x2[row, k]</summary>
internal struct GatedInput<TOp> : IProductInput where TOp : struct, IUnary
{
    public static float At(ProductArgs a, int row, int k)
    {
        long i = (long)row * a.K + k;
        return Gate(a.X[i], a.X2[i]);
    }

    public static F4 Four(ProductArgs a, int row, int k)
    {
        long i = ((long)row * a.K + k) >> 2;
        F4 x = a.X.AsAligned(16).Cast<F4>()[i], y = a.X2.AsAligned(16).Cast<F4>()[i];
        return new F4 { X = Gate(x.X, y.X), Y = Gate(x.Y, y.Y), Z = Gate(x.Z, y.Z), W = Gate(x.W, y.W) };
    }

    private static float Gate(float a, float b) => TOp.Apply(new Lanes1(a)).Value * b;
}

/// <summary>
/// y = x · wᵀ in tiles of 64 × 64: 16 columns of both matrices at a time are loaded four at once, turned so that k is the slow
/// index in shared memory, and each thread multiplies 4 values of x by 4 of w for each k, all in registers.
/// </summary>
internal struct ProductKernel<TRows, TInput, TWeight> : IKernel<ProductArgs>
    where TRows : struct, IProductRows
    where TInput : struct, IProductInput
    where TWeight : struct, IElement
{
    public static void Run(ProductArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(ProductTile.K * ProductTile.Row), ws = SharedMemory.Allocate<float>(ProductTile.K * ProductTile.Row);
        TileRows rows = TRows.Find(a, Grid.IdxY);
        if (rows.First >= rows.End)
            return;
        int column = Grid.IdxX * ProductTile.N;
        int loadRow = Group.IdxX >> 2, loadK = (Group.IdxX & 3) << 2;              // four columns of one row for each thread
        int m = (Group.IdxX >> 4) << 2, n = (Group.IdxX & 15) << 2;                // its part of the tile
        int from = rows.First + loadRow;
        long w = rows.Expert * a.WExpert + (long)(column + loadRow) * a.K;
        Sums16 sums = default;
        for (int k0 = 0; k0 < a.K; k0 += ProductTile.K)
        {
            int k = k0 + loadK;
            F4 x4 = default, w4 = default;
            if (from < rows.End)
                x4 = a.IsAligned && k < a.K ? TInput.Four(a, from, k) : Loose(a, from, k);
            if (column + loadRow < a.N)
                w4 = a.IsAligned && k < a.K ? TWeight.Four(a.W, w + k) : LooseWeight(a, w, k);
            ProductTile.Turn(xs, loadRow, loadK, x4);
            ProductTile.Turn(ws, loadRow, loadK, w4);
            Group.Barrier();
            sums = ProductTile.Multiply(xs, ws, m, n, sums);
            Group.Barrier();
        }
        Store(a, rows, rows.First + m, column + n, sums.R0);
        Store(a, rows, rows.First + m + 1, column + n, sums.R1);
        Store(a, rows, rows.First + m + 2, column + n, sums.R2);
        Store(a, rows, rows.First + m + 3, column + n, sums.R3);
    }

    private static F4 Loose(ProductArgs a, int row, int k) => new()
    {
        X = k < a.K ? TInput.At(a, row, k) : 0,
        Y = k + 1 < a.K ? TInput.At(a, row, k + 1) : 0,
        Z = k + 2 < a.K ? TInput.At(a, row, k + 2) : 0,
        W = k + 3 < a.K ? TInput.At(a, row, k + 3) : 0,
    };

    private static F4 LooseWeight(ProductArgs a, long start, int k) => new()
    {
        X = k < a.K ? TWeight.At(a.W, start + k) : 0,
        Y = k + 1 < a.K ? TWeight.At(a.W, start + k + 1) : 0,
        Z = k + 2 < a.K ? TWeight.At(a.W, start + k + 2) : 0,
        W = k + 3 < a.K ? TWeight.At(a.W, start + k + 3) : 0,
    };

    private static void Store(ProductArgs a, TileRows rows, int row, int column, F4 c)
    {
        if (row >= rows.End)
            return;
        long at = (long)row * a.N + column;
        if (column < a.N)
            a.Y[at] = c.X;
        if (column + 1 < a.N)
            a.Y[at + 1] = c.Y;
        if (column + 2 < a.N)
            a.Y[at + 2] = c.Z;
        if (column + 3 < a.N)
            a.Y[at + 3] = c.W;
    }
}

/// <summary>y += x · w, with weights that lie along the outputs: a thread per element of y, so that neighbours read neighbours.</summary>
internal struct RowsProductKernel<TWeight> : IKernel<ProductArgs> where TWeight : struct, IElement
{
    public static void Run(ProductArgs a)
    {
        int row = Grid.IdxY, n = Grid.IdxX * Group.DimX + Group.IdxX;
        if (n >= a.N || row < SlotView.Start(a.Slots) || row >= SlotView.End(a.Slots))
            return;
        long w = SlotExpert.Of(a.Slots, row) * a.WExpert + n, x = (long)row * a.K;
        float sum = 0;
        for (int k = 0; k < a.K; k++)
            sum += a.X[x + k] * TWeight.At(a.W, w + (long)k * a.N);
        a.Y[(long)row * a.N + n] += sum;
    }
}
