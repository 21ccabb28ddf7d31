using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    [Theory, MemberData(nameof(Matrices))]
    public void CrossEntropy_is_zero_where_ignored(int T, int V) => Agree(Elementwise, t =>
        t.Backend.CrossEntropy(t.Normal([T, V], scale: 3), Labels(t, T, V), t.Output("y", [T]), t.Output("lse", [T])));

    [Theory, MemberData(nameof(Matrices))]
    public void CrossEntropyGrad_adds_nothing_where_ignored(int T, int V) => Agree(Sums, t =>
    {
        Tensor logits = t.Normal([T, V], scale: 3), labels = Labels(t, T, V), lse = t.Output("lse", [T]);
        t.Backend.CrossEntropy(logits, labels, t.Output("y", [T]), lse);
        t.Backend.CrossEntropyGrad(logits, labels, lse, t.Normal([T]), t.Accumulator("dlogits", [T, V]));
    });

    [Fact]
    public void SumOfSquares_adds_to_what_is_there()
    {
        foreach (int n in Lengths)
            Agree(Sums, t => t.Backend.SumOfSquares(t.Normal([n]), t.Accumulator("y", [1])));
    }

    [Fact]
    public void AdamW_takes_three_steps()
    {
        foreach (int n in Lengths)
            foreach (AdamWStep first in new AdamWStep[] { new(1, 1e-2f, 0.9, 0.999, 1e-8f, 0.01f), new(1, 3e-3f, 0.8, 0.95, 1e-6f, 0, GradScale: 0.125f) })
                Agree(Elementwise, t =>
                {
                    Tensor p = t.Accumulator("p", [n]), m = t.Accumulator("m", [n], new float[n]), v = t.Accumulator("v", [n], new float[n]);
                    for (int step = 1; step <= 3; step++)
                        t.Backend.AdamW(t.Normal([n]), first with { Step = step }, p, m, v);
                });
    }

    /// <summary>About one in five is not to be learned: −100 as in most checkpoints' code, or −1.</summary>
    private static Tensor Labels(Trial t, int T, int V)
    {
        Noise noise = t.Noise(20);
        return t.Input([T], [.. Enumerable.Range(0, T).Select(i => noise.Uniform(i + T) < 0.2f ? i % 2 == 0 ? -100 : -1 : noise.Below(V, i))]);
    }
}
