using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <remarks>
/// One routing serves all rows: four tokens, five experts, the second of them without a slot, nine live slots in tensors
/// with room for twelve. Unwritten rows hold NaNs, so a gradient that touches them is seen.
/// </remarks>
public static partial class GradientRows
{
    private const int Tokens = 4, Experts = 5, Live = 9, Capacity = 12;
    private static readonly int[] Offsets = [0, 2, 2, 5, 6, Live];
    private static readonly int[] Token = [0, 2, 0, 1, 3, 2, 0, 1, 2, -1, -1, -1];
    private static readonly int[] Expert = [0, 0, 2, 2, 2, 3, 4, 4, 4, -1, -1, -1];

    private static GradientRow[] Moe() =>
    [
        new(typeof(GatherRowsOp), "embedding, ids repeat", [Normal(5, 3)], (g, x) => g.GatherRows(x[0], Ints(g, 4, 0, 4, 2))),
        new(typeof(GatherRowsOp), "dispatch to all experts", [Normal(Tokens, 3)],
            (g, x) => Slots(g, g.GatherRows(x[0], Ints(g, Token), AllExperts(g)), 0, Live)),
        new(typeof(GatherRowsOp), "dispatch to experts 1 to 3", [Normal(Tokens, 3)],
            (g, x) => Slots(g, g.GatherRows(x[0], Ints(g, Token), SomeExperts(g)), 2, 6)),

        new(typeof(GatherSlotsOp), "weights of the slots", [Normal(Tokens, Experts)],
            (g, x) => LiveOf(g, g.GatherSlots(x[0], Ints(g, Token), Ints(g, Expert), Ints(g, Offsets)))),

        new(typeof(GroupedLinearOp), "all experts, one empty", [Normal(Capacity, 3), .. Weights(Experts)],
            (g, x) => Slots(g, g.GroupedLinear(x[0], AllExperts(g), x[1..]), 0, Live)),
        new(typeof(GroupedLinearOp), "experts 1 to 3", [Normal(Capacity, 3), .. Weights(3)],
            (g, x) => Slots(g, g.GroupedLinear(x[0], SomeExperts(g), x[1..]), 2, 6)),
        new(typeof(GroupedLinearOp), "one expert", [Normal(Capacity, 3), .. Weights(1)],
            (g, x) => Slots(g, g.GroupedLinear(x[0], new SlotRange(Ints(g, Offsets), 3, 1), x[1..]), 5, 6)),

        new(typeof(GroupedLinearOp), "experts 1 to 3, stored transposed", [Normal(Capacity, 3), .. Weights(3, rows: 3, cols: 2)],
            (g, x) => Slots(g, g.GroupedLinear(x[0], SomeExperts(g), x[1..], transposed: true), 2, 6)),

        new(typeof(CombineOp), "all experts onto zeros", [Normal(Capacity, 3), Normal(Capacity)],
            (g, x) => g.Combine(x[0], x[1], Ints(g, Token), AllExperts(g), Tokens)),
        new(typeof(CombineOp), "experts 1 to 3 onto others", [Normal(Capacity, 3), Normal(Capacity), Normal(Tokens, 3)],
            (g, x) => g.Combine(x[0], x[1], Ints(g, Token), SomeExperts(g), Tokens, x[2])),
        new(typeof(CombineOp), "an expert without slots", [Normal(Capacity, 3), Normal(Capacity), Normal(Tokens, 3)],
            (g, x) => g.Combine(x[0], x[1], Ints(g, Token), new SlotRange(Ints(g, Offsets), 1, 1), Tokens, x[2])),

        new(typeof(GatedExpertsOp), "one expert onto zeros", [Normal(Tokens, 3), Normal(Capacity), .. Weights(2), .. Weights(1, 3, 2)],
            (g, x) => g.GatedExperts<Silu>(x[0], new(Ints(g, Token), g.Unary<Sigmoid>(x[1]), new SlotRange(Ints(g, Offsets), 2, 1)), x[2..])),
        new(typeof(GatedExpertsOp), "experts 1 to 3 onto others", [Normal(Tokens, 3), Normal(Capacity), Normal(Tokens, 3), .. Weights(6), .. Weights(3, 3, 2)],
            (g, x) => g.GatedExperts<Silu>(x[0], new(Ints(g, Token), g.Unary<Sigmoid>(x[1]), SomeExperts(g)), x[3..], x[2])),

        new(typeof(BandSoftmaxOp), "near and far", [Normal(3, 4)], (g, x) => g.BandSoftmax(
            g.Add(g.Scale(x[0], 0.3f), g.Constant<float>([3, 4], DType.F32, [5, 3, -4, 1, 3, 5, 1, 4, 1, 3, 5, -7])),
            g.Constant<float>([3, 4], DType.F32, [1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]), band: 0.6f)),

        new(typeof(GroupedLinearOp), "dispatch, compute, combine in two banks",
            [Normal(Tokens, 3), Normal(Tokens, Experts), .. Weights(Experts), .. Weights(Experts), .. Weights(Experts, 3, 2)], Mixture),
    ];

    private static SlotRange AllExperts(Tape g) => new(Ints(g, Offsets), 0, Experts);

    /// <summary>A bank in the middle, its first expert the one without slots.</summary>
    private static SlotRange SomeExperts(Tape g) => new(Ints(g, Offsets), 1, 3);

    private static Leaf[] Weights(int experts, int rows = 2, int cols = 3) => [.. Enumerable.Repeat(Normal(rows, cols), experts)];

    /// <summary>The live ones of a vector over slots: as a diagonal, times ones.</summary>
    private static Tensor LiveOf(Tape g, Tensor weight)
    {
        int[] all = [.. Enumerable.Range(0, Capacity)];
        return g.Combine(g.Constant([Capacity, 1], 1), weight, Ints(g, all), AllExperts(g), Capacity);
    }

    /// <summary>Two banks of SwiGLU experts, 0 to 1 and 2 to 4, the second onto the first.</summary>
    private static Tensor Mixture(Tape g, Tensor[] x)
    {
        Tensor token = Ints(g, Token), offsets = Ints(g, Offsets);
        Tensor weight = g.GatherSlots(g.Softmax(x[1]), token, Ints(g, Expert), offsets);
        return Bank(2, 3, Bank(0, 2, null));

        Tensor Bank(int first, int count, Tensor? onto)
        {
            SlotRange range = new(offsets, first, count);
            Tensor[] Of(int matrix) => x[(2 + matrix * Experts + first)..][..count];
            Tensor rows = g.GatherRows(x[0], token, range);
            Tensor h = g.Gated<Silu>(g.GroupedLinear(rows, range, Of(0)), g.GroupedLinear(rows, range, Of(1)));
            return g.Combine(g.GroupedLinear(h, range, Of(2)), weight, token, range, Tokens, onto);
        }
    }
}
