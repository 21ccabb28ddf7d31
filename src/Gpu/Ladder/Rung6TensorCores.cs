using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.Gpu.Ladder;

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
        for (int k = t; k < 16; k += 8)
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
/// Rungs 6 and 7: tensor cores. Tiles arrive as on rung 5; each of a group's four warps multiplies 32 rows by 32 columns in eight
/// parts of 16 × 8, with factors rounded on their way from shared memory to registers and sums in F32. What is computed is therefore
/// less exact than an F32 product: never used unless a precision was asked for. Needs CUDA and sm_80.
/// For 16 columns a warp makes 16,384 products, which an H200's four tensor cores together do in 8 clocks (bf16) or 16 (tf32), and reads 4 KB
/// of shared memory for them, 32 clocks. A tile of 64 × 64 asks for a byte of global memory per 16 flops, where these peaks
/// want 200: most has to come from the second cache. What comes next are larger tiles, for warps and for groups.
/// </summary>
internal struct Rung6TensorCores<TWeight, TCore> : IKernel<LadderArgs>
    where TWeight : struct, IElement
    where TCore : struct, ITensorCore
{
    /// <summary>The outputs of a group, and how far it goes along k between two barriers.</summary>
    public const int M = 64, N = 64, K = 16;

    /// <summary>Four warps.</summary>
    public const int Threads = 128;

    public static int SharedBytes => Ring.Stages * (M + N) * TCore.Stride * sizeof(float);

    public static void Run(LadderArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(Ring.Stages * M * TCore.Stride), tiles = SharedMemory.Allocate<float>(Ring.Stages * N * TCore.Stride);
        ElementView ws = Ring.Elements(tiles);
        Ptx.Begin();
        TileRows rows = LadderTile.Rows(a, M);
        if (rows.First >= rows.End)
            return;
        int column = Grid.IdxX * N, g = (Group.IdxX & 31) >> 2, t = Group.IdxX & 3, stage = 0, free = 2;
        int m = ((Group.IdxX >> 6) << 5) + g, n = (((Group.IdxX >> 5) & 1) << 5) + g;
        Ring.Ask<TWeight>(a, rows, column, 0, 0, M, K, TCore.Stride, xs, ws);
        Ring.Ask<TWeight>(a, rows, column, K, 1, M, K, TCore.Stride, xs, ws);
        for (int k0 = 0; k0 < a.K; k0 += K)
        {
            Ptx.WaitForAllButOne();
            Group.Barrier();
            Ring.Ask<TWeight>(a, rows, column, k0 + 2 * K, free, M, K, TCore.Stride, xs, ws);
            TCore.Multiply<TWeight>(xs, (stage * M + m) * TCore.Stride, ws, (stage * N + n) * TCore.Stride, t);
            stage = Ring.Next(stage);
            free = Ring.Next(free);
        }
        for (int part = 0; part < 8; part++)
        {
            int row = rows.First + m + ((part >> 2) << 4), at = column + n - g + ((part & 3) << 3) + 2 * t;
            bool isIn = at < a.N, nextIsIn = at + 1 < a.N, upper = row < rows.End, lower = row + 8 < rows.End;
            Ptx.Store(part, a.Y, (long)row * a.N + at, (long)(row + 8) * a.N + at, upper & isIn, upper & nextIsIn, lower & isIn, lower & nextIsIn);
        }
    }
}
