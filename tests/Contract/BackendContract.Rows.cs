using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>Rows and columns: every awkward width, few and many rows, none, and enough for several threads.</summary>
    public static TheoryData<int, int> Matrices => new()
    {
        { 1, 1 }, { 6, 3 }, { 11, 7 }, { 16, 13 }, { 21, 17 }, { 26, 33 }, { 31, 65 }, { 0, 7 }, { 1, 300 }, { 200, 1 }, { 130, 257 }, { 3, 5003 },
    };

    [Theory, MemberData(nameof(Matrices))]
    public void RowDot_adds_the_dot_product_of_rows(int T, int D)
    {
        Agree(SumOf(D), t => t.Backend.RowDot(t.Normal([T, D]), t.Normal([T, D]), t.Accumulator("y", [T])));
        Agree(SumOf(D), t => t.Backend.RowDot(t.Normal([T, D]), null, t.Accumulator("y", [T])));
    }

    [Theory, MemberData(nameof(Matrices))]
    public void ColumnSum_adds_weighted_rows(int T, int D)
    {
        Agree(SumOf(T), t => t.Backend.ColumnSum(t.Normal([T, D]), t.Normal([T]), t.Accumulator("y", [D])));
        Agree(SumOf(T), t => t.Backend.ColumnSum(t.Normal([T, D]), null, t.Accumulator("y", [D])));
    }

    [Theory, MemberData(nameof(Matrices))]
    public void ScaleRows_adds_rows_times_their_factor(int T, int D) =>
        Agree(Elementwise, t => t.Backend.ScaleRows(t.Normal([T, D]), t.Normal([T]), t.Accumulator("y", [T, D])));

    [Theory, MemberData(nameof(Matrices))]
    public void Outer_adds_products_and_takes_null_for_ones(int T, int D)
    {
        Agree(Elementwise, t => t.Backend.Outer(t.Normal([T]), t.Normal([D]), t.Accumulator("y", [T, D])));
        Agree(Elementwise, t => t.Backend.Outer(null, t.Normal([D]), t.Accumulator("y", [T, D])));
        Agree(Elementwise, t => t.Backend.Outer(t.Normal([T]), null, t.Accumulator("y", [T, D])));
    }

    [Theory, MemberData(nameof(Matrices))]
    public void Softmax_of_rows(int T, int D)
    {
        Agree(Elementwise, t => t.Backend.Softmax(t.Normal([T, D], scale: 3), t.Output("y", [T, D])));
        Agree(Elementwise, t => t.Backend.Softmax(PartlyHidden(t, T, D), t.Output("y", [T, D])));
    }

    [Theory, MemberData(nameof(Matrices))]
    public void SoftmaxGrad_adds_the_gradient(int T, int D) => Agree(Elementwise, t =>
    {
        Tensor y = t.Output("y", [T, D]);
        t.Backend.Softmax(PartlyHidden(t, T, D), y);
        t.Backend.SoftmaxGrad(y, t.Normal([T, D]), t.Accumulator("dx", [T, D]));
    });

    [Theory, MemberData(nameof(Matrices))]
    public void LogSumExp_of_rows(int T, int D)
    {
        Agree(Elementwise, t => t.Backend.LogSumExp(t.Normal([T, D], scale: 3), t.Output("y", [T])));
        Agree(Elementwise, t => t.Backend.LogSumExp(PartlyHidden(t, T, D), t.Output("y", [T])));
    }

    [Fact]
    public void LogSumExp_of_nothing_is_minus_infinity()
    {
        float[] hidden = [.. Enumerable.Repeat(float.NegativeInfinity, 2 * 33)];
        Agree(Exact, t => t.Backend.LogSumExp(t.Input([2, 33], hidden), t.Output("y", [2])));
    }

    [Theory, MemberData(nameof(Matrices))]
    public void LogSumExpGrad_adds_the_softmax(int T, int D) => Agree(Sums, t =>
    {
        Tensor x = PartlyHidden(t, T, D), y = t.Output("y", [T]);
        t.Backend.LogSumExp(x, y);
        t.Backend.LogSumExpGrad(x, y, t.Normal([T]), t.Accumulator("dx", [T, D]));
    });

    [Theory, MemberData(nameof(Matrices))]
    public void RmsNorm_of_rows(int T, int D)
    {
        foreach (float scale in new[] { 1, 1e-3f, 1e3f })   // around, below and above eps
            Agree(Sums, t => t.Backend.RmsNorm(t.Normal([T, D], scale: scale), t.Normal([D]), 1e-6f, t.Output("y", [T, D]), t.Output("r", [T])));
    }

    /// <summary>Several vectors to a row, as the heads of a query.</summary>
    [Fact]
    public void RmsNorm_of_heads()
    {
        foreach ((int T, int heads, int D) in new[] { (1, 1, 3), (3, 4, 6), (5, 2, 17), (9, 3, 64), (40, 7, 33) })
            Agree(Sums, t =>
            {
                Tensor x = t.Normal([T, heads * D]), w = t.Normal([D]), r = t.Output("r", [T, heads]);
                t.Backend.RmsNorm(x, w, 1e-6f, t.Output("y", [T, heads * D]), r);
                t.Backend.RmsNormGrad(x, w, r, t.Normal([T, heads * D]), t.Accumulator("dx", [T, heads * D]), t.Accumulator("dw", [D]));
            });
    }

    [Theory, MemberData(nameof(Matrices))]
    public void RmsNormGrad_adds_both_gradients_or_one(int T, int D)
    {
        float eps = D == 1 ? 1e-2f : 1e-6f;     // of one element near 0 the gradient is a difference of almost equal numbers, times 1 / √eps
        foreach ((bool wantsX, bool wantsW) in new[] { (true, true), (true, false), (false, true) })
            Agree(Sums, t =>
            {
                Tensor x = t.Normal([T, D]), w = t.Normal([D]), r = t.Output("r", [T]);
                t.Backend.RmsNorm(x, w, eps, t.Output("y", [T, D]), r);
                t.Backend.RmsNormGrad(x, w, r, t.Normal([T, D]),
                    wantsX ? t.Accumulator("dx", [T, D]) : null,
                    wantsW ? t.Accumulator("dw", [D]) : null);
            });
    }

    /// <summary>Rows with some −∞ but never all, and every third row far from zero.</summary>
    private static Tensor PartlyHidden(Trial t, int T, int D)
    {
        Noise noise = t.Noise(50);
        float[] x = new float[T * D];
        for (int i = 0; i < x.Length; i++)
            x[i] = i % D > 0 && noise.Uniform(i + x.Length) < 0.3f
                ? float.NegativeInfinity
                : 2 * noise.Normal(i) + (i / D % 3 == 1 ? 80 : 0);
        return t.Input([T, D], x);
    }
}
