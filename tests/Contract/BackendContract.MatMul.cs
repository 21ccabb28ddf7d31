using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>T, N, D: one row (decode), few, and blocks with remainders in every direction; no row; more than one thread's work.</summary>
    private static readonly (int T, int N, int D)[] Products =
    [
        (1, 1, 1), (1, 3, 7), (1, 65, 33), (1, 130, 128), (2, 17, 13), (3, 7, 65), (5, 33, 1), (7, 13, 17), (8, 16, 32),
        (13, 17, 3), (17, 1, 33), (33, 65, 7), (65, 33, 129), (0, 7, 5), (100, 96, 112),
        (130, 17, 4700), (4700, 9, 10),   // sums longer than a worker packs at once
        (9, 33, 300), (40, 21, 530), (1, 300, 260), (3, 6, 1030), (8, 530, 260), (2, 259, 515),   // long sums, and long and wide matrices for few rows
    ];

    public static TheoryData<int, int, int, DType> LinearCases
    {
        get
        {
            TheoryData<int, int, int, DType> cases = [];
            foreach ((int T, int N, int D) in Products)
                foreach (DType type in new[] { DType.F32, DType.BF16, DType.F16 })
                    cases.Add(T, N, D, type);
            return cases;
        }
    }

    [Theory, MemberData(nameof(LinearCases))]
    public void Linear_multiplies_by_the_transposed_weight(int T, int N, int D, DType type) =>
        Agree(SumOf(D), t => t.Backend.Linear(t.Normal([T, D]), t.Normal([N, D], type), t.Output("y", [T, N])));

    /// <summary>Rows with an infinity or a NaN beside rows of numbers too small to be normal in 16 bits, which large inputs bring up.</summary>
    [Theory, MemberData(nameof(WeightTypes))]
    public void Linear_reads_weights_of_every_kind(DType type)
    {
        const int N = 23, D = 71;
        float[] w = [.. Enumerable.Range(0, N * D).Select(static i => (i * 37 % 2047 - 1023) * 5.9604645e-8f)];   // 2⁻²⁴
        (w[0], w[D + 70], w[9 * D + 33], w[22 * D + 5]) = (float.PositiveInfinity, float.NaN, float.NegativeInfinity, float.PositiveInfinity);
        foreach (int T in new[] { 1, 3, 8, 9 })
            Agree(SumOf(D), t =>
            {
                float[] x = [.. Enumerable.Range(0, T * D).Select(static i => 400 * (i * 53 % 101 - 50.5f))];
                t.Backend.Linear(t.Input([T, D], x), t.Input([N, D], w, type), t.Output("y", [T, N]));
            });
    }

    [Theory, MemberData(nameof(LinearCases))]
    public void LinearGradInput_adds_the_way_back(int T, int N, int D, DType type) =>
        Agree(SumOf(N), t => t.Backend.LinearGradInput(t.Normal([T, N]), t.Normal([N, D], type), t.Accumulator("dx", [T, D])));

    [Fact]
    public void LinearGradWeight_adds_the_sum_over_rows()
    {
        foreach ((int T, int N, int D) in Products)
            Agree(SumOf(T), t => t.Backend.LinearGradWeight(t.Normal([T, N]), t.Normal([T, D]), t.Accumulator("dw", [N, D])));
    }

    [Fact]
    public void Linear_sees_all_but_the_last_dimension_as_rows() =>
        Agree(SumOf(5), t => t.Backend.Linear(t.Normal([2, 3, 5]), t.Normal([7, 5]), t.Output("y", [6, 7])));
}
