using System.Runtime.Intrinsics;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>Kernels make no garbage, on no thread.</summary>
[Collection(Allocations.Name)]
public sealed class AllocationTests
{
    private const int E = 7;

    /// <summary>Large enough to be shared out; small where vectors are emulated, so that a call ends before the test host makes garbage of its own.</summary>
    private static readonly (int T, int D, int N) s_sizes = Vector128.IsHardwareAccelerated ? (203, 269, 331) : (43, 29, 37);

    [Fact]
    public void Forking_allocates_nothing_on_any_thread()
    {
        using WorkerPool pool = new(4);
        Assert.Equal(0, Allocations.In(() =>
        {
            for (int round = 0; round < 100; round++)
                pool.Run(64, default(EmptyJob));
        }));
    }

    [Fact]
    public void Kernels_allocate_nothing_on_any_thread()
    {
        (int T, int D, int N) = s_sizes;
        using IBackend cpu = CpuBackend.Create(3);
        Tensor x = cpu.Zeros([T, D]), w = cpu.Zeros([N, D]), y = cpu.Zeros([T, N]), mask = cpu.Zeros([T, N]);
        Tensor offsets = cpu.From([E + 1], [0, 3, 3, T / 3, T / 3 + 1, T / 2, T / 2 + 1, T]), sequences = cpu.From([1, 4], [0, T, 0, T]), lse = cpu.Zeros([T, 1]), sum = cpu.Zeros([1]), sink = cpu.Zeros([1]);
        Tensor[] experts = [.. Enumerable.Repeat(w, E)];
        AttentionLayout layout = new(1, 1, D, 1);
        Tensor ay = cpu.Zeros([T, D]), dx = cpu.Zeros([T, D]);
        Action[] kernels =
        [
            () => cpu.Linear(x, w, y),
            () => cpu.LinearGradInput(y, w, x),
            () => cpu.LinearGradWeight(y, x, w),
            () => cpu.GroupedLinear(x, new SlotRange(offsets, 0, E), experts, y),
            () => cpu.Unary<Gelu>(y, mask),
            () => cpu.Softmax(y, mask),
            () => cpu.SelectTopK(y, 3, mask),
            () => cpu.SelectTopP(y, new TopPRule(0.5f), mask),
            () => cpu.SumOfSquares(y, sum),
            () => cpu.Attention(x, x, x, sequences, null, null, layout, ay, lse),
            () => cpu.AttentionGrad(x, x, x, sequences, null, null, layout, ay, lse, x, dx, dx, dx, null),
            () => cpu.Attention(x, x, x, sequences, null, sink, layout, ay, lse),
            () => cpu.AttentionGrad(x, x, x, sequences, null, sink, layout, ay, lse, x, dx, dx, dx, sum),
        ];
        for (int i = 0; i < kernels.Length; i++)
            Assert.Equal((i, 0), (i, Allocations.In(kernels[i])));
    }

    private struct EmptyJob : IJob
    {
        public readonly void Run(int index, int worker)
        {
        }
    }
}
