using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.Arm;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// The innermost loop of every packed matmul: a tile of C in registers, one column of A broadcast against one row of B per step.
/// Accumulators are named locals and nothing is called while they live: the JIT then keeps all of them in registers. Six rows
/// go four steps at a time, which leaves 21 instructions for 12 multiply-adds: where two hardware threads share a core, its front
/// end is what limits them.
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
        for (; k >= 4; k -= 4, a += 4 * 6, b += 8 * V.Count)
        {
            Step6(a, b, ref c00, ref c01, ref c10, ref c11, ref c20, ref c21, ref c30, ref c31, ref c40, ref c41, ref c50, ref c51);
            Step6(a + 6, b + 2 * V.Count, ref c00, ref c01, ref c10, ref c11, ref c20, ref c21, ref c30, ref c31, ref c40, ref c41, ref c50, ref c51);
            Step6(a + 12, b + 4 * V.Count, ref c00, ref c01, ref c10, ref c11, ref c20, ref c21, ref c30, ref c31, ref c40, ref c41, ref c50, ref c51);
            Step6(a + 18, b + 6 * V.Count, ref c00, ref c01, ref c10, ref c11, ref c20, ref c21, ref c30, ref c31, ref c40, ref c41, ref c50, ref c51);
        }
        for (; k > 0; k--, a += 6, b += 2 * V.Count)
            Step6(a, b, ref c00, ref c01, ref c10, ref c11, ref c20, ref c21, ref c30, ref c31, ref c40, ref c41, ref c50, ref c51);
        Finish(c, c00, c01, accumulate);
        Finish(c + ldc, c10, c11, accumulate);
        Finish(c + 2 * ldc, c20, c21, accumulate);
        Finish(c + 3 * ldc, c30, c31, accumulate);
        Finish(c + 4 * ldc, c40, c41, accumulate);
        Finish(c + 5 * ldc, c50, c51, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step6(float* a, float* b, ref V c00, ref V c01, ref V c10, ref V c11, ref V c20, ref V c21, ref V c30, ref V c31, ref V c40, ref V c41, ref V c50, ref V c51)
    {
        V b0 = V.Load(b), b1 = V.Load(b + V.Count);
        V a0 = V.Of(a[0]);
        V.MulAdd(a0, b0, ref c00);
        V.MulAdd(a0, b1, ref c01);
        V a1 = V.Of(a[1]);
        V.MulAdd(a1, b0, ref c10);
        V.MulAdd(a1, b1, ref c11);
        V a2 = V.Of(a[2]);
        V.MulAdd(a2, b0, ref c20);
        V.MulAdd(a2, b1, ref c21);
        V a3 = V.Of(a[3]);
        V.MulAdd(a3, b0, ref c30);
        V.MulAdd(a3, b1, ref c31);
        V a4 = V.Of(a[4]);
        V.MulAdd(a4, b0, ref c40);
        V.MulAdd(a4, b1, ref c41);
        V a5 = V.Of(a[5]);
        V.MulAdd(a5, b0, ref c50);
        V.MulAdd(a5, b1, ref c51);
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
            V.MulAdd(a0, b0, ref c00);
            V.MulAdd(a0, b1, ref c01);
            V a1 = V.Of(a[1]);
            V.MulAdd(a1, b0, ref c10);
            V.MulAdd(a1, b1, ref c11);
            V a2 = V.Of(a[2]);
            V.MulAdd(a2, b0, ref c20);
            V.MulAdd(a2, b1, ref c21);
            V a3 = V.Of(a[3]);
            V.MulAdd(a3, b0, ref c30);
            V.MulAdd(a3, b1, ref c31);
            V a4 = V.Of(a[4]);
            V.MulAdd(a4, b0, ref c40);
            V.MulAdd(a4, b1, ref c41);
            V a5 = V.Of(a[5]);
            V.MulAdd(a5, b0, ref c50);
            V.MulAdd(a5, b1, ref c51);
            V a6 = V.Of(a[6]);
            V.MulAdd(a6, b0, ref c60);
            V.MulAdd(a6, b1, ref c61);
            V a7 = V.Of(a[7]);
            V.MulAdd(a7, b0, ref c70);
            V.MulAdd(a7, b1, ref c71);
            V a8 = V.Of(a[8]);
            V.MulAdd(a8, b0, ref c80);
            V.MulAdd(a8, b1, ref c81);
            V a9 = V.Of(a[9]);
            V.MulAdd(a9, b0, ref c90);
            V.MulAdd(a9, b1, ref c91);
            V aA = V.Of(a[10]);
            V.MulAdd(aA, b0, ref cA0);
            V.MulAdd(aA, b1, ref cA1);
            V aB = V.Of(a[11]);
            V.MulAdd(aB, b0, ref cB0);
            V.MulAdd(aB, b1, ref cB1);
            V aC = V.Of(a[12]);
            V.MulAdd(aC, b0, ref cC0);
            V.MulAdd(aC, b1, ref cC1);
            V aD = V.Of(a[13]);
            V.MulAdd(aD, b0, ref cD0);
            V.MulAdd(aD, b1, ref cD1);
        }
        Finish(c, c00, c01, accumulate);
        Finish(c + ldc, c10, c11, accumulate);
        Finish(c + 2 * ldc, c20, c21, accumulate);
        Finish(c + 3 * ldc, c30, c31, accumulate);
        Finish(c + 4 * ldc, c40, c41, accumulate);
        Finish(c + 5 * ldc, c50, c51, accumulate);
        Finish(c + 6 * ldc, c60, c61, accumulate);
        Finish(c + 7 * ldc, c70, c71, accumulate);
        Finish(c + 8 * ldc, c80, c81, accumulate);
        Finish(c + 9 * ldc, c90, c91, accumulate);
        Finish(c + 10 * ldc, cA0, cA1, accumulate);
        Finish(c + 11 * ldc, cB0, cB1, accumulate);
        Finish(c + 12 * ldc, cC0, cC1, accumulate);
        Finish(c + 13 * ldc, cD0, cD1, accumulate);
    }

    /// <summary>A row of a tile goes to memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Finish(float* c, V low, V high, bool accumulate)
    {
        if (accumulate)
        {
            low += V.Load(c);
            high += V.Load(c + V.Count);
        }
        low.Store(c);
        high.Store(c + V.Count);
    }
}
