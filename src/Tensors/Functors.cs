using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors;

/// <summary>
/// An elementwise function and its slope. Written once over <see cref="ILanes{TSelf}"/>, it serves the reference
/// (one lane), the CPU (4, 8 or 16 lanes) and devices. Always inlined: a call would spill the loop's vectors.
/// </summary>
public interface IUnary
{
    /// <summary>f(x)</summary>
    static abstract V Apply<V>(V x) where V : struct, ILanes<V>;

    /// <summary>f'(x)</summary>
    static abstract V Slope<V>(V x) where V : struct, ILanes<V>;
}

/// <summary>σ(x) = 1 / (1 + e^-x)</summary>
public readonly struct Sigmoid : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => V.Of(1) / (V.Of(1) + V.Exp(-x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V>
    {
        V s = Apply(x);
        return s * (V.Of(1) - s);
    }
}

/// <summary>silu(x) = x · σ(x)</summary>
public readonly struct Silu : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => x / (V.Of(1) + V.Exp(-x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V>
    {
        V s = Sigmoid.Apply(x);
        return s * (V.Of(1) + x * (V.Of(1) - s));
    }
}

/// <summary>relu(x) = max(x, 0); slope 0 at 0.</summary>
public readonly struct Relu : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => V.Max(x, V.Of(0));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => V.IfPositive(x, V.Of(1), V.Of(0));
}

/// <summary>clip(x) = x between −1 and 1, the nearer of the two outside; slope 0 outside.</summary>
public readonly struct Clip : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => V.Clamp(x, -1, 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => V.IfPositive(V.Abs(x) - V.Of(1), V.Of(0), V.Of(1));
}

/// <summary>c · σ(1.702 c), c = x but no more than 7: gpt-oss's gate; slope 0 above 7.</summary>
public readonly struct CappedSwish : IUnary
{
    private const float Cap = 7, Steepness = 1.702f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V>
    {
        V c = V.Clamp(x, float.NegativeInfinity, Cap);
        return c / (V.Of(1) + V.Exp(V.Of(-Steepness) * c));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V>
    {
        V a = V.Of(Steepness) * x, s = Sigmoid.Apply(a);
        return V.IfPositive(x - V.Of(Cap), V.Of(0), s * (V.Of(1) + a * (V.Of(1) - s)));
    }
}

/// <summary>x between −7 and 7, plus 1: what gpt-oss's gate is multiplied by; slope 0 outside.</summary>
public readonly struct ClippedPlusOne : IUnary
{
    private const float Limit = 7;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => V.Clamp(x, -Limit, Limit) + V.Of(1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => V.IfPositive(V.Abs(x) - V.Of(Limit), V.Of(0), V.Of(1));
}

/// <summary>tanh(x) = sign(x) · (1 − e^(−2|x|)) / (1 + e^(−2|x|)): no overflow, no cancellation of large terms.</summary>
public readonly struct Tanh : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V>
    {
        V e = V.Exp(V.Of(-2) * V.Abs(x));
        V t = (V.Of(1) - e) / (V.Of(1) + e);
        return V.IfPositive(x, t, -t);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V>
    {
        V t = Apply(x);
        return V.Of(1) - t * t;
    }
}

/// <summary>softplus(x) = ln(1 + e^x) = max(x, 0) + ln(1 + e^(−|x|)); slope σ(x).</summary>
public readonly struct Softplus : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> =>
        V.Max(x, V.Of(0)) + V.Log(V.Of(1) + V.Exp(-V.Abs(x)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => Sigmoid.Apply(x);
}

/// <summary>Φ(x), the normal distribution function; its slope is the density.</summary>
/// <remarks>Φ(x) = erfc(−x/√2) / 2, erfc by Chebyshev fit (Numerical Recipes, 2nd ed., 6.2: relative error below 1.2e-7).</remarks>
public readonly struct NormalCdf : IUnary
{
    private const float InverseSqrt2 = 0.70710678f, InverseSqrt2Pi = 0.39894228f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V>
    {
        V z = V.Abs(x) * V.Of(InverseSqrt2);
        V t = V.Of(1) / (V.Of(1) + V.Of(0.5f) * z);
        V p = V.Of(0.17087277f);
        p = V.MulAdd(p, t, V.Of(-0.82215223f));
        p = V.MulAdd(p, t, V.Of(1.48851587f));
        p = V.MulAdd(p, t, V.Of(-1.13520398f));
        p = V.MulAdd(p, t, V.Of(0.27886807f));
        p = V.MulAdd(p, t, V.Of(-0.18628806f));
        p = V.MulAdd(p, t, V.Of(0.09678418f));
        p = V.MulAdd(p, t, V.Of(0.37409196f));
        p = V.MulAdd(p, t, V.Of(1.00002368f));
        p = V.MulAdd(p, t, V.Of(-1.26551223f));
        V tail = V.Of(0.5f) * t * V.Exp(p - z * z);   // Φ(−|x|)
        return V.IfPositive(x, V.Of(1) - tail, tail);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => V.Of(InverseSqrt2Pi) * V.Exp(V.Of(-0.5f) * x * x);
}

/// <summary>gelu(x) = x · Φ(x)</summary>
public readonly struct Gelu : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => x * NormalCdf.Apply(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => NormalCdf.Apply(x) + x * NormalCdf.Slope(x);
}

/// <summary>gelu by tanh: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) = x · σ(2√(2/π) · (x + 0.044715 x³))</summary>
public readonly struct GeluTanh : IUnary
{
    private const float A = 1.5957691f, B = 0.044715f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => x * Sigmoid.Apply(Inner(x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V>
    {
        V s = Sigmoid.Apply(Inner(x));
        return s + x * s * (V.Of(1) - s) * V.Of(A) * (V.Of(1) + V.Of(3 * B) * x * x);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Inner<V>(V x) where V : struct, ILanes<V> => V.Of(A) * x * (V.Of(1) + V.Of(B) * x * x);
}

/// <summary>x²</summary>
public readonly struct Square : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => x * x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V> => V.Of(2) * x;
}

/// <summary>1 / x</summary>
public readonly struct Reciprocal : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V x) where V : struct, ILanes<V> => V.Of(1) / x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V x) where V : struct, ILanes<V>
    {
        V r = V.Of(1) / x;
        return -(r * r);
    }
}

/// <summary>−p · ln p, 0 at p = 0: one term of an entropy. The slope is taken at no less than the smallest normal number.</summary>
public readonly struct EntropyTerm : IUnary
{
    private const float Smallest = 1.17549435e-38f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Apply<V>(V p) where V : struct, ILanes<V> => -(p * V.Log(V.Max(p, V.Of(Smallest))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Slope<V>(V p) where V : struct, ILanes<V> => -(V.Log(V.Max(p, V.Of(Smallest))) + V.Of(1));
}
