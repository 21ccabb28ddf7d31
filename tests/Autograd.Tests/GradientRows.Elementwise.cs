using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

public static partial class GradientRows
{
    private static GradientRow[] Elementwise() =>
    [
        new(typeof(AddOp), "vectors", [Normal(7), Normal(7)], (g, x) => g.Add(x[0], x[1])),
        new(typeof(AddOp), "rank 3", [Normal(2, 3, 5), Normal(2, 3, 5)], (g, x) => g.Add(x[0], x[1])),
        new(typeof(AddOp), "with itself", [Normal(3, 5)], (g, x) => g.Add(x[0], x[0])),
        new(typeof(MulOp), "matrices", [Normal(3, 5), Normal(3, 5)], (g, x) => g.Mul(x[0], x[1])),
        new(typeof(MulOp), "with itself", [Normal(9)], (g, x) => g.Mul(x[0], x[0])),
        new(typeof(ScaleOp), "shrinks", [Normal(4, 3)], (g, x) => g.Scale(x[0], 0.3f)),
        new(typeof(ScaleOp), "turns", [Normal(5)], (g, x) => g.Scale(x[0], -2)),
        .. Functor<Sigmoid>(),
        .. Functor<Silu>(),
        .. Functor<Relu>(OffZero),
        .. Functor<Clip>(x => x * 2 is var y && MathF.Abs(MathF.Abs(y) - 1) < 0.1f ? y * 1.3f : y),
        .. Functor<CappedSwish>(AcrossSeven),
        .. Functor<ClippedPlusOne>(AcrossSeven),
        .. Functor<Tanh>(),
        .. Functor<Softplus>(),
        .. Functor<NormalCdf>(),
        .. Functor<Gelu>(),
        .. Functor<GeluTanh>(),
        .. Functor<Square>(),
        .. Functor<Reciprocal>(x => OffZero(x) * 2),
        .. Functor<EntropyTerm>(Probability),
    ];

    /// <summary>An elementwise function by itself and as a gate.</summary>
    private static GradientRow[] Functor<TOp>(Converter<float, float>? domain = null) where TOp : struct, IUnary =>
    [
        new(typeof(UnaryOp), typeof(TOp).Name, [new Leaf([3, 11], domain)], (g, x) => g.Unary<TOp>(x[0])),
        new(typeof(GatedOp), typeof(TOp).Name, [new Leaf([3, 11], domain), Normal(3, 11)], (g, x) => g.Gated<TOp>(x[0], x[1])),
    ];

    /// <summary>Away from a kink or a pole at 0, further than the nudge.</summary>
    private static float OffZero(float x) => x < 0 ? x - 0.5f : x + 0.5f;

    /// <summary>On both sides of a kink at ±7, and away from it.</summary>
    private static float AcrossSeven(float x) => x * 6 is var y && MathF.Abs(MathF.Abs(y) - 7) < 0.1f ? y * 1.1f : y;

    private static float Probability(float x) => 0.2f + 0.8f / (1 + MathF.Exp(-x));
}
