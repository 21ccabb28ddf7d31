using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>The fused experts are what their parts say one after the other, gradients included.</summary>
public abstract class FusedExperts(IBackend backend) : OnBackend(backend)
{
    private const int Tokens = 70, Experts = 6, First = 1, Count = 4, D = 40, F = 24;

    public static TheoryData<bool> ScaledOrNot => [true, false];

    [Theory, MemberData(nameof(ScaledOrNot))]
    public void Agree_with_their_parts(bool scaled)
    {
        CounterRandom random = new(Seed: 5, Stream: 1);
        List<int> token = [], offsets = [0];
        for (int e = 0; e < Experts; e++)
        {
            for (int t = 0; t < Tokens; t++)
                if (random.Uniform((ulong)(e * Tokens + t)) < (e == 2 ? 0.01f : e == 3 ? 0.95f : 0.3f))   // nearly nobody's, and nearly everybody's
                    token.Add(t);
            offsets.Add(token.Count);
        }
        float[][] fused = Run((g, x, slots, w, onto, scale) => g.GatedExperts<Silu>(x, slots, w, onto, scale));
        float[][] parts = Run((g, x, slots, w, onto, scale) =>
        {
            Tensor rows = g.GatherRows(x, slots.Token, slots.Range);
            Tensor h = g.Gated<Silu>(g.GroupedLinear(rows, slots.Range, w[..Count]), g.GroupedLinear(rows, slots.Range, w[Count..(2 * Count)]));
            Tensor y = g.GroupedLinear(h, slots.Range, w[(2 * Count)..]);
            return g.Combine(scale is null ? y : g.ScaleGradient(y, scale), slots.Weight, slots.Token, slots.Range, Tokens, onto);
        });
        for (int i = 0; i < fused.Length; i++)
            for (int j = 0; j < fused[i].Length; j++)
                Assert.True(MathF.Abs(fused[i][j] - parts[i][j]) <= 1e-5f * (1 + MathF.Abs(parts[i][j])), $"output {i}[{j}]: {fused[i][j]} and {parts[i][j]}");

        float[][] Run(Func<Tape, Tensor, ExpertSlots, Tensor[], Tensor, Tensor?, Tensor> op)
        {
            Tensor x = Parameter([Tokens, D], stream: 2), weight = Parameter([token.Count], stream: 3), onto = Parameter([Tokens, D], stream: 4);
            Tensor[] w = [.. Enumerable.Range(0, 3 * Count).Select(i => Parameter(i < 2 * Count ? [F, D] : [D, F], stream: 10 + i, scale: 0.15f))];
            using Tape g = Tape.Training(Backend);
            SlotRange range = new(g.Constant<int>([Experts + 1], DType.I32, [.. offsets]), First, Count);
            Tensor slotTokens = g.Constant<int>([token.Count], DType.I32, [.. token]);
            Tensor? scale = scaled ? g.Constant<float>([token.Count], DType.F32, Values.Normal(token.Count, stream: 5)) : null;
            Tensor y = op(g, x, new ExpertSlots(slotTokens, weight, range), w, onto, scale);
            float[] result = Backend.ToFloats(y);
            g.Backward(y, Values.Normal(Tokens * D, stream: 6));
            return [result, .. new[] { x, weight, onto }.Concat(w).Select(GradOf)];
        }
    }
}
