using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>The same bits from 1, 2, 3 and 4 threads, on sizes that are shared out and no multiple of a tile.</summary>
public sealed class ReproducibilityTests
{
    private const int T = 203, D = 269, N = 331, E = 7, Heads = 4, HeadDim = 40;

    public static TheoryData<string> Kernels => [.. s_kernels.Keys];

    private static readonly Dictionary<string, Action<Trial>> s_kernels = new()
    {
        ["linear"] = t => t.Backend.Linear(t.Normal([T, D]), t.Normal([N, D]), t.Output("y", [T, N])),
        ["linear bf16, few rows"] = t => t.Backend.Linear(t.Normal([3, D]), t.Normal([N, D], DType.BF16), t.Output("y", [3, N])),
        ["linear of several k blocks"] = t => t.Backend.Linear(t.Normal([50, 1000]), t.Normal([300, 1000], DType.F16), t.Output("y", [50, 300])),
        ["linear grad input"] = t => t.Backend.LinearGradInput(t.Normal([T, N]), t.Normal([N, D]), t.Accumulator("dx", [T, D])),
        ["linear grad weight"] = t => t.Backend.LinearGradWeight(t.Normal([T, N]), t.Normal([T, D]), t.Accumulator("dw", [N, D])),
        ["grouped linear"] = t => t.Backend.GroupedLinear(t.Normal([T, D]), Slots(t), Experts(t), t.Output("y", [T, N])),
        ["rms norm"] = t => t.Backend.RmsNorm(t.Normal([T, D]), t.Normal([D]), 1e-5f, t.Output("y", [T, D]), t.Output("r", [T])),
        ["rms norm grad"] = t => t.Backend.RmsNormGrad(
            t.Normal([T, D]), t.Normal([D]), t.Normal([T]), t.Normal([T, D]), t.Accumulator("dx", [T, D]), t.Accumulator("dw", [D])),
        ["column sum"] = t => t.Backend.ColumnSum(t.Normal([2 * T, D]), t.Normal([2 * T]), t.Accumulator("y", [D])),
        ["softmax"] = t => t.Backend.Softmax(t.Normal([T, N]), t.Output("y", [T, N])),
        ["sum of squares"] = t => t.Backend.SumOfSquares(t.Normal([T, 10 * D]), t.Accumulator("y", [1])),
        ["silu"] = t => t.Backend.Unary<Silu>(t.Normal([T, N]), t.Output("y", [T, N])),
        ["combine"] = t => t.Backend.Combine(t.Normal([2 * T, D]), t.Normal([2 * T]), Tokens(t), default, t.Accumulator("y", [T, D])),
        ["top-p"] = t => t.Backend.SelectTopP(t.Normal([40 * T, E]), new TopPRule(0.7f), t.Output("mask", [40 * T, E])),
        ["attention"] = Attention,
    };

    [Theory, MemberData(nameof(Kernels))]
    public void Any_number_of_threads_gives_the_same_bits(string kernel)
    {
        IReadOnlyList<Outcome>? first = null;
        foreach (int threads in new[] { 1, 2, 3, 4 })
        {
            using IBackend cpu = CpuBackend.Create(threads, poison: true);
            IReadOnlyList<Outcome> outcomes = Trial.Run(cpu, 7, s_kernels[kernel]);
            Outcome.AssertClose(first ??= outcomes, outcomes, 0);
        }
    }

    private static int[] Bounds() => [0, 3, 3, 60, 61, 130, 131, T];

    private static SlotRange Slots(Trial t) => new(t.Input([E + 1], Bounds()), 0, E);

    private static Tensor[] Experts(Trial t) => [.. Enumerable.Range(0, E).Select(_ => t.Normal([N, D]))];

    private static Tensor Tokens(Trial t) => t.Input([2 * T], [.. Enumerable.Range(0, 2 * T).Select(s => s * 31 % T)]);

    private static void Attention(Trial t)
    {
        AttentionLayout layout = new(Heads, 2, HeadDim, 0.15f);
        Tensor q = t.Normal([T, Heads * HeadDim]), k = t.Normal([T, 2 * HeadDim]), v = t.Normal([T, 2 * HeadDim]), sinks = t.Normal([Heads]);
        Tensor sequences = t.Input([3, 4], [0, 120, 0, 120, 120, 80, 120, 80, 200, 3, 0, 190]);
        Tensor y = t.Output("y", [T, Heads * HeadDim]), lse = t.Output("lse", [T, Heads]);
        t.Backend.Attention(q, k, v, sequences, null, sinks, layout, y, lse);
        t.Backend.AttentionGrad(q, k, v, sequences, null, sinks, layout, y, lse, t.Normal([T, Heads * HeadDim]),
            t.Accumulator("dq", [T, Heads * HeadDim]), t.Accumulator("dk", [T, 2 * HeadDim]), t.Accumulator("dv", [T, 2 * HeadDim]), t.Accumulator("dsinks", [Heads]));
    }
}
