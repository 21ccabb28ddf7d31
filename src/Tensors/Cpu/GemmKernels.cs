using System.Runtime.Intrinsics.Arm;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// The innermost loop of every packed matmul: a tile of C in registers, one column of A broadcast against one row of B per step.
/// Accumulators are named locals and nothing is called while they live: the JIT then keeps all of them in registers.
/// Two heights serve all widths: 6 rows × 2 vectors fill 16 registers, 14 × 2 fill 32.
/// </summary>
internal static unsafe class GemmKernels<V> where V : struct, ILanes<V>
{
    private static readonly bool s_tall = typeof(V) == typeof(Lanes16) || (typeof(V) == typeof(Lanes4) && AdvSimd.Arm64.IsSupported);

    /// <summary>Rows of a tile, the width of a packed panel of A.</summary>
    public static int MR => s_tall ? 14 : 6;

    /// <summary>Columns of a tile, the width of a packed panel of B.</summary>
    public static int NR => 2 * V.Count;

    /// <summary>C[MR, NR] = or += A·B of packed panels a [k][MR] and b [k][NR].</summary>
    public static void Tile(int k, float* a, float* b, float* c, long ldc, bool accumulate)
    {
        if (s_tall)
            Tile14(k, a, b, c, ldc, accumulate);
        else
            Tile6(k, a, b, c, ldc, accumulate);
    }

    /// <summary>6 × 2 accumulators, 2 vectors of B and 1 of A: 15 of 16 registers.</summary>
    private static void Tile6(int k, float* a, float* b, float* c, long ldc, bool accumulate)
    {
        V zero = V.Of(0);
        V c00 = zero, c01 = zero, c10 = zero, c11 = zero, c20 = zero, c21 = zero;
        V c30 = zero, c31 = zero, c40 = zero, c41 = zero, c50 = zero, c51 = zero;
        for (; k > 0; k--, a += 6, b += 2 * V.Count)
        {
            V b0 = V.Load(b), b1 = V.Load(b + V.Count);
            V a0 = V.Of(a[0]);
            c00 = V.MulAdd(a0, b0, c00);
            c01 = V.MulAdd(a0, b1, c01);
            V a1 = V.Of(a[1]);
            c10 = V.MulAdd(a1, b0, c10);
            c11 = V.MulAdd(a1, b1, c11);
            V a2 = V.Of(a[2]);
            c20 = V.MulAdd(a2, b0, c20);
            c21 = V.MulAdd(a2, b1, c21);
            V a3 = V.Of(a[3]);
            c30 = V.MulAdd(a3, b0, c30);
            c31 = V.MulAdd(a3, b1, c31);
            V a4 = V.Of(a[4]);
            c40 = V.MulAdd(a4, b0, c40);
            c41 = V.MulAdd(a4, b1, c41);
            V a5 = V.Of(a[5]);
            c50 = V.MulAdd(a5, b0, c50);
            c51 = V.MulAdd(a5, b1, c51);
        }
        if (accumulate)
        {
            c00 += V.Load(c);
            c01 += V.Load(c + V.Count);
            c10 += V.Load(c + ldc);
            c11 += V.Load(c + ldc + V.Count);
            c20 += V.Load(c + 2 * ldc);
            c21 += V.Load(c + 2 * ldc + V.Count);
            c30 += V.Load(c + 3 * ldc);
            c31 += V.Load(c + 3 * ldc + V.Count);
            c40 += V.Load(c + 4 * ldc);
            c41 += V.Load(c + 4 * ldc + V.Count);
            c50 += V.Load(c + 5 * ldc);
            c51 += V.Load(c + 5 * ldc + V.Count);
        }
        c00.Store(c);
        c01.Store(c + V.Count);
        c10.Store(c + ldc);
        c11.Store(c + ldc + V.Count);
        c20.Store(c + 2 * ldc);
        c21.Store(c + 2 * ldc + V.Count);
        c30.Store(c + 3 * ldc);
        c31.Store(c + 3 * ldc + V.Count);
        c40.Store(c + 4 * ldc);
        c41.Store(c + 4 * ldc + V.Count);
        c50.Store(c + 5 * ldc);
        c51.Store(c + 5 * ldc + V.Count);
    }

    /// <summary>14 × 2 accumulators, 2 vectors of B and 1 of A: 31 of 32 registers.</summary>
    private static void Tile14(int k, float* a, float* b, float* c, long ldc, bool accumulate)
    {
        V zero = V.Of(0);
        V c00 = zero, c01 = zero, c10 = zero, c11 = zero, c20 = zero, c21 = zero;
        V c30 = zero, c31 = zero, c40 = zero, c41 = zero, c50 = zero, c51 = zero;
        V c60 = zero, c61 = zero, c70 = zero, c71 = zero, c80 = zero, c81 = zero;
        V c90 = zero, c91 = zero, cA0 = zero, cA1 = zero, cB0 = zero, cB1 = zero;
        V cC0 = zero, cC1 = zero, cD0 = zero, cD1 = zero;
        for (; k > 0; k--, a += 14, b += 2 * V.Count)
        {
            V b0 = V.Load(b), b1 = V.Load(b + V.Count);
            V a0 = V.Of(a[0]);
            c00 = V.MulAdd(a0, b0, c00);
            c01 = V.MulAdd(a0, b1, c01);
            V a1 = V.Of(a[1]);
            c10 = V.MulAdd(a1, b0, c10);
            c11 = V.MulAdd(a1, b1, c11);
            V a2 = V.Of(a[2]);
            c20 = V.MulAdd(a2, b0, c20);
            c21 = V.MulAdd(a2, b1, c21);
            V a3 = V.Of(a[3]);
            c30 = V.MulAdd(a3, b0, c30);
            c31 = V.MulAdd(a3, b1, c31);
            V a4 = V.Of(a[4]);
            c40 = V.MulAdd(a4, b0, c40);
            c41 = V.MulAdd(a4, b1, c41);
            V a5 = V.Of(a[5]);
            c50 = V.MulAdd(a5, b0, c50);
            c51 = V.MulAdd(a5, b1, c51);
            V a6 = V.Of(a[6]);
            c60 = V.MulAdd(a6, b0, c60);
            c61 = V.MulAdd(a6, b1, c61);
            V a7 = V.Of(a[7]);
            c70 = V.MulAdd(a7, b0, c70);
            c71 = V.MulAdd(a7, b1, c71);
            V a8 = V.Of(a[8]);
            c80 = V.MulAdd(a8, b0, c80);
            c81 = V.MulAdd(a8, b1, c81);
            V a9 = V.Of(a[9]);
            c90 = V.MulAdd(a9, b0, c90);
            c91 = V.MulAdd(a9, b1, c91);
            V aA = V.Of(a[10]);
            cA0 = V.MulAdd(aA, b0, cA0);
            cA1 = V.MulAdd(aA, b1, cA1);
            V aB = V.Of(a[11]);
            cB0 = V.MulAdd(aB, b0, cB0);
            cB1 = V.MulAdd(aB, b1, cB1);
            V aC = V.Of(a[12]);
            cC0 = V.MulAdd(aC, b0, cC0);
            cC1 = V.MulAdd(aC, b1, cC1);
            V aD = V.Of(a[13]);
            cD0 = V.MulAdd(aD, b0, cD0);
            cD1 = V.MulAdd(aD, b1, cD1);
        }
        if (accumulate)
        {
            c00 += V.Load(c);
            c01 += V.Load(c + V.Count);
            c10 += V.Load(c + ldc);
            c11 += V.Load(c + ldc + V.Count);
            c20 += V.Load(c + 2 * ldc);
            c21 += V.Load(c + 2 * ldc + V.Count);
            c30 += V.Load(c + 3 * ldc);
            c31 += V.Load(c + 3 * ldc + V.Count);
            c40 += V.Load(c + 4 * ldc);
            c41 += V.Load(c + 4 * ldc + V.Count);
            c50 += V.Load(c + 5 * ldc);
            c51 += V.Load(c + 5 * ldc + V.Count);
            c60 += V.Load(c + 6 * ldc);
            c61 += V.Load(c + 6 * ldc + V.Count);
            c70 += V.Load(c + 7 * ldc);
            c71 += V.Load(c + 7 * ldc + V.Count);
            c80 += V.Load(c + 8 * ldc);
            c81 += V.Load(c + 8 * ldc + V.Count);
            c90 += V.Load(c + 9 * ldc);
            c91 += V.Load(c + 9 * ldc + V.Count);
            cA0 += V.Load(c + 10 * ldc);
            cA1 += V.Load(c + 10 * ldc + V.Count);
            cB0 += V.Load(c + 11 * ldc);
            cB1 += V.Load(c + 11 * ldc + V.Count);
            cC0 += V.Load(c + 12 * ldc);
            cC1 += V.Load(c + 12 * ldc + V.Count);
            cD0 += V.Load(c + 13 * ldc);
            cD1 += V.Load(c + 13 * ldc + V.Count);
        }
        c00.Store(c);
        c01.Store(c + V.Count);
        c10.Store(c + ldc);
        c11.Store(c + ldc + V.Count);
        c20.Store(c + 2 * ldc);
        c21.Store(c + 2 * ldc + V.Count);
        c30.Store(c + 3 * ldc);
        c31.Store(c + 3 * ldc + V.Count);
        c40.Store(c + 4 * ldc);
        c41.Store(c + 4 * ldc + V.Count);
        c50.Store(c + 5 * ldc);
        c51.Store(c + 5 * ldc + V.Count);
        c60.Store(c + 6 * ldc);
        c61.Store(c + 6 * ldc + V.Count);
        c70.Store(c + 7 * ldc);
        c71.Store(c + 7 * ldc + V.Count);
        c80.Store(c + 8 * ldc);
        c81.Store(c + 8 * ldc + V.Count);
        c90.Store(c + 9 * ldc);
        c91.Store(c + 9 * ldc + V.Count);
        cA0.Store(c + 10 * ldc);
        cA1.Store(c + 10 * ldc + V.Count);
        cB0.Store(c + 11 * ldc);
        cB1.Store(c + 11 * ldc + V.Count);
        cC0.Store(c + 12 * ldc);
        cC1.Store(c + 12 * ldc + V.Count);
        cD0.Store(c + 13 * ldc);
        cD1.Store(c + 13 * ldc + V.Count);
    }
}
