using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>The awkward ones, and one that is worth sharing among threads.</summary>
    private static readonly int[] Lengths = [.. Sizes, 70_001];

    [Theory, MemberData(nameof(Functors))]
    public void Unary_is_the_function_of_every_element(Type functor) => With(functor, nameof(Unary));

    [Theory, MemberData(nameof(Functors))]
    public void UnaryGrad_adds_the_slope(Type functor) => With(functor, nameof(UnaryGrad));

    [Theory, MemberData(nameof(Functors))]
    public void Gated_multiplies_by_the_second_input(Type functor) => With(functor, nameof(Gated));

    [Theory, MemberData(nameof(Functors))]
    public void GatedGrad_adds_both_gradients_or_one(Type functor) => With(functor, nameof(GatedGrad));

    [Fact]
    public void Add_sums_two()
    {
        foreach (int n in Lengths)
            Agree(Exact, t => t.Backend.Add(t.Normal([n]), t.Normal([n]), t.Output("y", [n])));
    }

    [Fact]
    public void Mul_multiplies_two()
    {
        foreach (int n in Lengths)
            Agree(Exact, t => t.Backend.Mul(t.Normal([n]), t.Normal([n]), t.Output("y", [n])));
    }

    [Fact]
    public void MulAdd_adds_a_product()
    {
        foreach (int n in Lengths)
            Agree(Elementwise, t => t.Backend.MulAdd(t.Normal([n]), t.Normal([n]), t.Accumulator("y", [n])));
    }

    [Fact]
    public void Axpy_adds_a_multiple()
    {
        foreach (int n in Lengths)
            Agree(Elementwise, t => t.Backend.Axpy(-0.75f, t.Normal([n]), t.Accumulator("y", [n])));
    }

    [Fact]
    public void Mul_takes_matrices_and_nothing()
    {
        Agree(Exact, t => t.Backend.Mul(t.Normal([3, 5, 7]), t.Normal([3, 5, 7]), t.Output("y", [3, 5, 7])));
        Agree(Exact, t => t.Backend.Mul(t.Normal([0, 7]), t.Normal([0, 7]), t.Output("y", [0, 7])));
    }

    private void Unary<TOp>() where TOp : struct, IUnary
    {
        foreach (int n in LengthsFor<TOp>())
            Agree(Elementwise, t => t.Backend.Unary<TOp>(Domain<TOp>(t, n), t.Output("y", [n])));
    }

    private void UnaryGrad<TOp>() where TOp : struct, IUnary
    {
        foreach (int n in LengthsFor<TOp>())
            Agree(Slopes, t => t.Backend.UnaryGrad<TOp>(Domain<TOp>(t, n), t.Normal([n]), t.Accumulator("dx", [n])));
    }

    private void Gated<TOp>() where TOp : struct, IUnary
    {
        foreach (int n in LengthsFor<TOp>())
            Agree(Elementwise, t => t.Backend.Gated<TOp>(Domain<TOp>(t, n), t.Normal([n]), t.Output("y", [n])));
    }

    private void GatedGrad<TOp>() where TOp : struct, IUnary
    {
        foreach (int n in LengthsFor<TOp>())
            foreach ((bool wantsA, bool wantsB) in new[] { (true, true), (true, false), (false, true) })
                Agree(Slopes, t => t.Backend.GatedGrad<TOp>(
                    Domain<TOp>(t, n), t.Normal([n]), t.Normal([n]),
                    wantsA ? t.Accumulator("da", [n]) : null,
                    wantsB ? t.Accumulator("db", [n]) : null));
    }

    /// <summary>How work is shared does not depend on the function: one of them takes the long one.</summary>
    private static int[] LengthsFor<TOp>() => typeof(TOp) == typeof(Silu) ? Lengths : Sizes;

    /// <summary>Numbers the function is made for: normal ones with some extremes, probabilities for an entropy, no zero to divide by.</summary>
    private static Tensor Domain<TOp>(Trial t, int n) where TOp : struct, IUnary
    {
        Noise noise = t.Noise(100);
        float[] extremes = typeof(TOp) == typeof(EntropyTerm) ? [0, 1, 1e-30f]
            : typeof(TOp) == typeof(Reciprocal) ? [-1e30f, 1e30f]
            : [0, -0f, 1e-30f, -1e-30f, 20, -20, 88, -88, 100, -100];
        float[] x = new float[n];
        for (int i = 0; i < n; i++)
            x[i] = i % 5 == 2 ? extremes[i / 5 % extremes.Length]
                : typeof(TOp) == typeof(EntropyTerm) ? noise.Uniform(i)
                : typeof(TOp) == typeof(Reciprocal) ? noise.Normal(i) + (noise.Normal(i) < 0 ? -0.1f : 0.1f)
                : 3 * noise.Normal(i);
        return t.Input([n], x);
    }
}
