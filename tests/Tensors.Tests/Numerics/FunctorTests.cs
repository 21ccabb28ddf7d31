using System.Reflection;

namespace MoeFromScratch.Tensors.Tests.Numerics;

/// <summary>Every functor is the function it says, and its slope the slope of that function, by formulas in double.</summary>
public sealed class FunctorTests
{
    private static readonly Dictionary<Type, Func<double, double>> Exact = new()
    {
        [typeof(Sigmoid)] = x => 1 / (1 + Math.Exp(-x)),
        [typeof(Silu)] = x => x / (1 + Math.Exp(-x)),
        [typeof(Relu)] = x => Math.Max(x, 0),
        [typeof(Clip)] = x => Math.Clamp(x, -1, 1),
        [typeof(CappedSwish)] = x => Math.Min(x, 7) / (1 + Math.Exp(-1.702 * Math.Min(x, 7))),
        [typeof(ClippedPlusOne)] = x => Math.Clamp(x, -7, 7) + 1,
        [typeof(Tanh)] = Math.Tanh,
        [typeof(Softplus)] = x => Math.Log(1 + Math.Exp(x)),
        [typeof(NormalCdf)] = NormalDistribution,
        [typeof(Gelu)] = x => x * NormalDistribution(x),
        [typeof(GeluTanh)] = x => x / 2 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        [typeof(Square)] = x => x * x,
        [typeof(Reciprocal)] = x => 1 / x,
        [typeof(EntropyTerm)] = p => p > 0 ? -p * Math.Log(p) : 0,
    };

    public static TheoryData<Type> Functors =>
        [.. typeof(IUnary).Assembly.GetTypes().Where(t => t.IsValueType && t.IsAssignableTo(typeof(IUnary)))];

    [Theory, MemberData(nameof(Functors))]
    public void Value_and_slope_are_those_of_the_formula(Type functor) =>
        typeof(FunctorTests).GetMethod(nameof(Compare), BindingFlags.Static | BindingFlags.NonPublic)!
            .MakeGenericMethod(functor)
            .Invoke(null, BindingFlags.DoNotWrapExceptions, null, [Exact[functor]], null);

    private static void Compare<TOp>(Func<double, double> f) where TOp : struct, IUnary
    {
        const double H = 1e-5;
        bool onlyPositive = typeof(TOp) == typeof(EntropyTerm);
        for (float x = onlyPositive ? 0.0125f : -10.0125f; x < 10; x += 0.125f)   // never 0, where relu has no slope
        {
            Near(f(x), TOp.Apply(new Lanes1(x)).Value, 1e-6);
            Near((f(x + H) - f(x - H)) / (2 * H), TOp.Slope(new Lanes1(x)).Value, 5e-6);

            void Near(double expected, double actual, double tolerance) => Assert.True(
                Math.Abs(actual - expected) <= tolerance * Math.Max(1, Math.Abs(expected)), $"{actual} is not {expected} at {x}");
        }
    }

    [Fact]
    public void An_impossible_outcome_adds_no_entropy() => Assert.Equal(0, EntropyTerm.Apply(new Lanes1(0)).Value);

    /// <summary>Φ(x) = 1/2 + ∫₀ˣ of the density, by Simpson's rule.</summary>
    private static double NormalDistribution(double x)
    {
        const int Steps = 400;
        double h = x / Steps, sum = 0;
        for (int i = 0; i <= Steps; i++)
            sum += (i is 0 or Steps ? 1 : i % 2 == 1 ? 4 : 2) * Math.Exp(-(i * h) * (i * h) / 2);
        return 0.5 + sum * h / 3 / Math.Sqrt(2 * Math.PI);
    }
}
