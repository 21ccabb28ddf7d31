using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>A matrix wherever it lies: element (i, j) is P[i · Row + j · Col].</summary>
internal readonly unsafe struct Strided(float* p, long row, long col = 1)
{
    public readonly float* P = p;
    public readonly long Row = row, Col = col;
}

/// <summary>
/// Small products C = or += A · B of matrices that are in the caches anyway, as attention's blocks are: nothing is packed. A tile of
/// C, 6 rows × 2 vectors, stays in 12 registers; each step along K loads 2 vectors of B and broadcasts 6 elements of A, each
/// through a pointer of its own, so that A may run either way and a transposed one costs nothing. That is all an AVX2 or SSE machine has
/// registers for; with 32 of them 12 accumulators still hide the latency of two multipliers.
/// </summary>
internal static unsafe class LooseProduct<V> where V : struct, ILanes<V>
{
    /// <summary>Rows of a tile. A is read up to a whole number of them, and what is beyond M changes nothing.</summary>
    public const int MR = 6;

    /// <summary>Columns of a tile. B is read up to a whole number of them.</summary>
    public static int NR => 2 * V.Count;

    /// <summary>C [m, n] = or += A [m, k] · B [k, n]. B's columns and C's are 1 apart.</summary>
    public static void Multiply(int m, int n, int k, in Strided a, in Strided b, in Strided c, bool accumulate)
    {
        for (int j = 0; j < n; j += NR)
            for (int i = 0; i < m; i += MR)
            {
                float* tile = c.P + i * c.Row + j;
                if (m - i >= MR && n - j >= NR)
                    Tile(k, a.P + i * a.Row, a.Row, a.Col, b.P + j, b.Row, tile, c.Row, accumulate);
                else
                    EdgeTile(Math.Min(MR, m - i), Math.Min(NR, n - j), k, a.P + i * a.Row, a.Row, a.Col, b.P + j, b.Row, tile, c.Row, accumulate);
            }
    }

    [SkipLocalsInit]
    private static void EdgeTile(int m, int n, int k, float* a, long aRow, long aCol, float* b, long bRow, float* c, long cRow, bool accumulate)
    {
        float* tile = stackalloc float[MR * NR];
        Tile(k, a, aRow, aCol, b, bRow, tile, NR, accumulate: false);
        for (int i = 0; i < m; i++, c += cRow, tile += NR)
            for (int j = 0; j < n; j++)
                c[j] = accumulate ? c[j] + tile[j] : tile[j];
    }

    private static void Tile(int k, float* a, long aRow, long aCol, float* b, long bRow, float* c, long cRow, bool accumulate)
    {
        V zero = V.Of(0);
        V c00 = zero, c01 = zero, c10 = zero, c11 = zero, c20 = zero, c21 = zero;
        V c30 = zero, c31 = zero, c40 = zero, c41 = zero, c50 = zero, c51 = zero;
        float* a0 = a, a1 = a0 + aRow, a2 = a1 + aRow, a3 = a2 + aRow, a4 = a3 + aRow, a5 = a4 + aRow;
        for (long x = 0; k > 0; k--, x += aCol, b += bRow)
        {
            V b0 = V.Load(b), b1 = V.Load(b + V.Count);
            V a0x = V.Of(a0[x]);
            V.MulAdd(a0x, b0, ref c00);
            V.MulAdd(a0x, b1, ref c01);
            V a1x = V.Of(a1[x]);
            V.MulAdd(a1x, b0, ref c10);
            V.MulAdd(a1x, b1, ref c11);
            V a2x = V.Of(a2[x]);
            V.MulAdd(a2x, b0, ref c20);
            V.MulAdd(a2x, b1, ref c21);
            V a3x = V.Of(a3[x]);
            V.MulAdd(a3x, b0, ref c30);
            V.MulAdd(a3x, b1, ref c31);
            V a4x = V.Of(a4[x]);
            V.MulAdd(a4x, b0, ref c40);
            V.MulAdd(a4x, b1, ref c41);
            V a5x = V.Of(a5[x]);
            V.MulAdd(a5x, b0, ref c50);
            V.MulAdd(a5x, b1, ref c51);
        }
        GemmKernels<V>.Finish(c, c00, c01, accumulate);
        GemmKernels<V>.Finish(c + cRow, c10, c11, accumulate);
        GemmKernels<V>.Finish(c + 2 * cRow, c20, c21, accumulate);
        GemmKernels<V>.Finish(c + 3 * cRow, c30, c31, accumulate);
        GemmKernels<V>.Finish(c + 4 * cRow, c40, c41, accumulate);
        GemmKernels<V>.Finish(c + 5 * cRow, c50, c51, accumulate);
    }
}
