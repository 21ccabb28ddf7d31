using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.Gpu;

/// <summary>What a tensor core multiplies: a warp's 32 rows of x and 32 of w, over the columns of a tile.</summary>
internal interface ITensorCore
{
    /// <summary>Elements from one row to the next in shared memory, so that a warp's reads meet different banks.</summary>
    static abstract int Stride { get; }

    /// <param name="xs">Tiles of x.</param>
    /// <param name="x">This lane's first row of x there: lane / 4 behind the warp's.</param>
    /// <param name="ws">Tiles of w.</param>
    /// <param name="w">This lane's first row of w.</param>
    /// <param name="t">lane % 4</param>
    static abstract void Multiply<TWeight>(ArrayView<float> xs, int x, ElementView ws, int w, int t) where TWeight : struct, IElement;
}

/// <summary>Factors rounded to bfloat16, 8 bits of precision.</summary>
internal struct Bf16Core : ITensorCore
{
    public static int Stride => 24;

    public static void Multiply<TWeight>(ArrayView<float> xs, int x, ElementView ws, int w, int t) where TWeight : struct, IElement
    {
        int below = 8 * Stride;
        x += 2 * t;
        w += 2 * t;
        Ptx.UpperRows(Two(xs, x), Two(xs, x + below), Two(xs, x + 8), Two(xs, x + below + 8));
        x += 2 * below;
        Ptx.LowerRows(Two(xs, x), Two(xs, x + below), Two(xs, x + 8), Two(xs, x + below + 8));
        Ptx.LeftColumns(TWeight.Two(ws, w), TWeight.Two(ws, w + 8), TWeight.Two(ws, w + below), TWeight.Two(ws, w + below + 8));
        w += 2 * below;
        Ptx.RightColumns(TWeight.Two(ws, w), TWeight.Two(ws, w + 8), TWeight.Two(ws, w + below), TWeight.Two(ws, w + below + 8));
        Ptx.MultiplyBf16();
    }

    private static F2 Two(ArrayView<float> xs, int i) => xs.AsAligned(16).Cast<F2>()[i >> 1];
}

/// <summary>Factors rounded to TF32, 11 bits of precision.</summary>
internal struct Tf32Core : ITensorCore
{
    public static int Stride => 20;

    public static void Multiply<TWeight>(ArrayView<float> xs, int x, ElementView ws, int w, int t) where TWeight : struct, IElement
    {
        int below = 8 * Stride;
        for (int k = t; k < AsyncTiles.K; k += 8)
        {
            int i = x + k, j = w + k;
            Ptx.Rows(xs[i], xs[i + below], xs[i + 4], xs[i + below + 4], xs[i + 2 * below], xs[i + 3 * below], xs[i + 2 * below + 4], xs[i + 3 * below + 4]);
            Ptx.Columns(TWeight.At(ws, j), TWeight.At(ws, j + 4), TWeight.At(ws, j + below), TWeight.At(ws, j + below + 4),
                TWeight.At(ws, j + 2 * below), TWeight.At(ws, j + 2 * below + 4), TWeight.At(ws, j + 3 * below), TWeight.At(ws, j + 3 * below + 4));
            Ptx.MultiplyTf32();
        }
    }
}

/// <summary>
/// Rung 6: y = x · wᵀ on tensor cores. Tiles arrive as on rung 5; each of a group's four warps multiplies 32 rows by 32 columns in eight
/// parts of 16 × 8, with factors rounded on their way from shared memory to registers and sums in F32. What is computed is therefore
/// less exact than an F32 product: never used unless a precision was asked for. Needs CUDA and sm_80.
/// <para>
/// For 16 columns a warp reads 64 · 16 floats from shared memory (4 KB, 32 cycles) for 8 instructions of 4,096 products (bf16: 128 cycles of an
/// A100's tensor core, half of that on an H200; tf32 twice as many). A group's 64 × 64 outputs take 16 flops per byte of device memory, as on
/// rung 5, where an A100's bf16 wants 200 and gets the rest from L2: what comes next is a larger tile. 30 to 36 KB of shared memory.
/// </para>
/// </summary>
internal struct TensorCoreProduct<TRows, TWeight, TCore> : IKernel<ProductArgs>
    where TRows : struct, IProductRows
    where TWeight : struct, IElement
    where TCore : struct, ITensorCore
{
    /// <summary>Four warps.</summary>
    public const int Threads = 128;

    public static void Run(ProductArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(AsyncTiles.Stages * ProductTile.M * TCore.Stride), tiles = SharedMemory.Allocate<float>(AsyncTiles.Stages * ProductTile.N * TCore.Stride);
        ElementView ws = AsyncTiles.Elements(tiles);
        Ptx.Begin();
        TileRows rows = TRows.Find(a, Grid.IdxY);
        if (rows.First >= rows.End)
            return;
        int column = Grid.IdxX * ProductTile.N, g = (Group.IdxX & 31) >> 2, t = Group.IdxX & 3, stage = 0, free = 2;
        int m = ((Group.IdxX >> 6) << 5) + g, n = (((Group.IdxX >> 5) & 1) << 5) + g;
        AsyncTiles.Ask<TWeight>(a, rows, column, 0, 0, TCore.Stride, xs, ws);
        Ptx.Commit();
        AsyncTiles.Ask<TWeight>(a, rows, column, AsyncTiles.K, 1, TCore.Stride, xs, ws);
        Ptx.Commit();
        for (int k0 = 0; k0 < a.K; k0 += AsyncTiles.K)
        {
            Ptx.WaitForAllButOne();
            Group.Barrier();
            AsyncTiles.Ask<TWeight>(a, rows, column, k0 + 2 * AsyncTiles.K, free, TCore.Stride, xs, ws);
            Ptx.Commit();
            TCore.Multiply<TWeight>(xs, (stage * ProductTile.M + m) * TCore.Stride, ws, (stage * ProductTile.N + n) * TCore.Stride, t);
            stage = AsyncTiles.Next(stage);
            free = AsyncTiles.Next(free);
        }
        for (int part = 0; part < 8; part++)
        {
            int row = rows.First + m + ((part >> 2) << 4), at = column + n - g + ((part & 3) << 3) + 2 * t;
            bool isIn = at < a.N, nextIsIn = at + 1 < a.N, upper = row < rows.End, lower = row + 8 < rows.End;
            Ptx.Store(part, a.Y, (long)row * a.N + at, (long)(row + 8) * a.N + at, upper & isIn, upper & nextIsIn, lower & isIn, lower & nextIsIn);
        }
    }
}
