using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.Gpu;

/// <summary>Tiles of both matrices on their way to shared memory: 64 rows of 16 columns each, one after the other in a ring of stages.</summary>
internal static class AsyncTiles
{
    public const int K = 16;

    /// <summary>One is read, and two are under way.</summary>
    public const int Stages = 3;

    /// <summary>Asks for the tiles that begin at column <paramref name="k"/>; rows lie <paramref name="stride"/> elements apart. Beyond the matrices there are zeros.</summary>
    public static void Ask<TWeight>(ProductArgs a, TileRows rows, int column, int k, int stage, int stride, ArrayView<float> xs, ElementView ws)
        where TWeight : struct, IElement
    {
        for (int i = Group.IdxX; i < ProductTile.M * K / 4; i += Group.DimX)
        {
            int row = i >> 2, from = k + ((i & 3) << 2), to = (stage * ProductTile.M + row) * stride + ((i & 3) << 2);
            Ptx.Copy(xs.AsAligned(16).Cast<F4>(), to >> 2, a.X.AsAligned(16).Cast<F4>(), ((long)(rows.First + row) * a.K + from) >> 2,
                rows.First + row < rows.End & from < a.K);
            TWeight.CopyFour(ws, to, a.W, rows.Expert * a.WExpert + (long)(column + row) * a.K + from, column + row < a.N & from < a.K);
        }
    }

    /// <summary>Where the tiles of weights are, whatever their type.</summary>
    public static ElementView Elements(ArrayView<float> tiles) => new() { Floats = tiles, Halves = tiles.Cast<ushort>() };

    public static int Next(int stage) => stage == Stages - 1 ? 0 : stage + 1;
}

/// <summary>
/// Rung 5: y = x · wᵀ as the rungs below, but tiles go from device to shared memory without passing through registers, and two of them are
/// under way while a third is read: a group never waits for memory as long as 2 tiles' arithmetic takes longer than a load. The tile that
/// was read last is overwritten, so that there is one barrier for each tile. Rows of both matrices begin at multiples of four elements.
/// <para>
/// A group's 64 × 64 outputs for 16 columns: 2 · 4 KB from device memory (F32), 131,072 flops, 16 flops per byte; 36 · 4 bytes of shared
/// memory per thread and column read for 16 · 2 flops. 30 KB of shared memory, so 5 groups of 256 on an A100's 164 KB, 7 on an H200's 228 KB.
/// Rows in shared memory lie 20 floats apart: eight neighbours' 16 bytes each lie in different banks.
/// </para>
/// </summary>
internal struct AsyncCopiesProduct<TRows, TWeight> : IKernel<ProductArgs>
    where TRows : struct, IProductRows
    where TWeight : struct, IElement
{
    private const int Stride = 20;

    public static void Run(ProductArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(AsyncTiles.Stages * ProductTile.M * Stride), tiles = SharedMemory.Allocate<float>(AsyncTiles.Stages * ProductTile.N * Stride);
        ElementView ws = AsyncTiles.Elements(tiles);
        TileRows rows = TRows.Find(a, Grid.IdxY);
        if (rows.First >= rows.End)
            return;
        int column = Grid.IdxX * ProductTile.N, m = Group.IdxX >> 4, n = Group.IdxX & 15, stage = 0, free = 2;
        F4 c0 = default, c1 = default, c2 = default, c3 = default;       // rows m, m + 16, … by columns n, n + 16, …
        AsyncTiles.Ask<TWeight>(a, rows, column, 0, 0, Stride, xs, ws);
        Ptx.Commit();
        AsyncTiles.Ask<TWeight>(a, rows, column, AsyncTiles.K, 1, Stride, xs, ws);
        Ptx.Commit();
        for (int k0 = 0; k0 < a.K; k0 += AsyncTiles.K)
        {
            Ptx.WaitForAllButOne();
            Group.Barrier();
            AsyncTiles.Ask<TWeight>(a, rows, column, k0 + 2 * AsyncTiles.K, free, Stride, xs, ws);
            Ptx.Commit();
            int x = (stage * ProductTile.M + m) * Stride, w = (stage * ProductTile.N + n) * Stride;
            for (int k = 0; k < AsyncTiles.K; k += 4)
            {
                F4 w0 = TWeight.Four(ws, w + k), w1 = TWeight.Four(ws, w + 16 * Stride + k), w2 = TWeight.Four(ws, w + 32 * Stride + k), w3 = TWeight.Four(ws, w + 48 * Stride + k);
                c0 = MulAdd(Four(xs, x + k), w0, w1, w2, w3, c0);
                c1 = MulAdd(Four(xs, x + 16 * Stride + k), w0, w1, w2, w3, c1);
                c2 = MulAdd(Four(xs, x + 32 * Stride + k), w0, w1, w2, w3, c2);
                c3 = MulAdd(Four(xs, x + 48 * Stride + k), w0, w1, w2, w3, c3);
            }
            stage = AsyncTiles.Next(stage);
            free = AsyncTiles.Next(free);
        }
        Store(a, rows, rows.First + m, column + n, c0);
        Store(a, rows, rows.First + m + 16, column + n, c1);
        Store(a, rows, rows.First + m + 32, column + n, c2);
        Store(a, rows, rows.First + m + 48, column + n, c3);
    }

    private static F4 Four(ArrayView<float> xs, int i) => xs.AsAligned(16).Cast<F4>()[i >> 2];

    /// <summary>c + x · (w0, w1, w2, w3)</summary>
    private static F4 MulAdd(F4 x, F4 w0, F4 w1, F4 w2, F4 w3, F4 c) =>
        new() { X = Dot(x, w0, c.X), Y = Dot(x, w1, c.Y), Z = Dot(x, w2, c.Z), W = Dot(x, w3, c.W) };

    private static float Dot(F4 x, F4 w, float c) => x.W * w.W + (x.Z * w.Z + (x.Y * w.Y + (x.X * w.X + c)));

    private static void Store(ProductArgs a, TileRows rows, int row, int column, F4 c)
    {
        if (row >= rows.End)
            return;
        long at = (long)row * a.N + column;
        if (column < a.N)
            a.Y[at] = c.X;
        if (column + 16 < a.N)
            a.Y[at + 16] = c.Y;
        if (column + 32 < a.N)
            a.Y[at + 32] = c.Z;
        if (column + 48 < a.N)
            a.Y[at + 48] = c.W;
    }
}
