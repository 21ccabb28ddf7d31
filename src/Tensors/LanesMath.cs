using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors;

/// <summary>Functions of lanes that the machine has no instruction for.</summary>
internal static class LanesMath
{
    private const float Log2E = 1.44269504f, Ln2High = 0.693359375f, Ln2Low = -2.12194440e-4f, Rounder = 12582912;

    /// <summary>
    /// e^x within 1 ulp, e^0 = 1, e^−∞ = 0, overflow to ∞. x = n · ln 2 + r, |r| ≤ ln 2 / 2, with ln 2 in two parts so that
    /// n · Ln2High is exact; e^r by the Cephes library's polynomial; 2^n in two factors, because n reaches −151 and 128.
    /// </summary>
    /// <remarks><see cref="System.Runtime.Intrinsics.Vector256"/>'s own is off by up to 1.8 ulp, says e^0 &gt; 1 and takes twice as long.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp<V>(V x) where V : struct, ILanes<V>
    {
        x = V.Clamp(x, -105, 89);
        V n = V.MulAdd(x, V.Of(Log2E), V.Of(Rounder)) - V.Of(Rounder);
        V r = V.MulAdd(n, V.Of(-Ln2Low), V.MulAdd(n, V.Of(-Ln2High), x));
        V half = V.MulAdd(n, V.Of(0.5f), V.Of(Rounder)) - V.Of(Rounder);
        return Polynomial(r) * V.PowerOfTwo(half) * V.PowerOfTwo(n - half);
    }

    /// <summary>
    /// e^x for x ≤ 0, as a softmax needs it: <see cref="Exp"/> without what keeps large and subnormal results apart; 0 where
    /// e^x is below the normal numbers.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Decay<V>(V x) where V : struct, ILanes<V>
    {
        x = V.Higher(V.Of(-88.029f), x);   // n reaches −127, for which 2^n is 0
        V n = V.MulAdd(x, V.Of(Log2E), V.Of(Rounder)) - V.Of(Rounder);
        V r = V.MulAdd(n, V.Of(-Ln2Low), V.MulAdd(n, V.Of(-Ln2High), x));
        return Polynomial(r) * V.PowerOfTwo(n);
    }

    /// <summary>e^r for |r| ≤ ln 2 / 2</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Polynomial<V>(V r) where V : struct, ILanes<V>
    {
        V p = V.Of(1.9875691500e-4f);
        p = V.MulAdd(p, r, V.Of(1.3981999507e-3f));
        p = V.MulAdd(p, r, V.Of(8.3334519073e-3f));
        p = V.MulAdd(p, r, V.Of(4.1665795894e-2f));
        p = V.MulAdd(p, r, V.Of(1.6666665459e-1f));
        p = V.MulAdd(p, r, V.Of(5.0000001201e-1f));
        return V.MulAdd(p, r * r, r) + V.Of(1);
    }
}
