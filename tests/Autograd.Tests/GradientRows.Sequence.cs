using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

public static partial class GradientRows
{
    private static GradientRow[] Sequence() =>
    [
        new(typeof(RopeOp), "halves", [Normal(4, 2 * 6)], (g, x) => Rope(g, x[0], new RopeLayout(6))),
        new(typeof(RopeOp), "neighbours", [Normal(4, 2 * 6)], (g, x) => Rope(g, x[0], new RopeLayout(6, Interleaved: true))),
        new(typeof(RopeOp), "one head", [Normal(4, 6)], (g, x) => Rope(g, x[0], new RopeLayout(6))),
        new(typeof(RopeOp), "part of a head, grown", [Normal(4, 2 * 9)], (g, x) => Rope(g, x[0], new RopeLayout(9, First: 1, Turned: 6, Magnitude: 1.3f))),

        Attention("causal", tokens: 4, keys: 4, new AttentionLayout(2, 2, 4, 0.5f), [0, 4, 0, 4]),
        Attention("not causal", tokens: 3, keys: 4, new AttentionLayout(1, 1, 4, 0.5f, Causal: false), [0, 3, 0, 4]),
        Attention("grouped queries", tokens: 3, keys: 3, new AttentionLayout(4, 2, 2, 0.7f), [0, 3, 0, 3]),
        Attention("one key head", tokens: 3, keys: 3, new AttentionLayout(3, 1, 2, 0.7f), [0, 3, 0, 3]),
        Attention("window", tokens: 6, keys: 6, new AttentionLayout(2, 1, 2, 0.7f, Window: 3), [0, 6, 0, 6]),
        Attention("ragged sequences, one empty", tokens: 6, keys: 6, new AttentionLayout(2, 1, 2, 0.7f),
            [0, 3, 0, 3, 3, 0, 3, 0, 3, 1, 3, 1, 4, 2, 4, 2]),
        Attention("more keys than queries", tokens: 3, keys: 8, new AttentionLayout(2, 2, 2, 0.7f), [0, 2, 0, 5, 2, 1, 5, 3]),
        Attention("window over ragged sequences", tokens: 4, keys: 9, new AttentionLayout(2, 1, 2, 0.7f, Window: 2), [0, 2, 0, 5, 2, 2, 5, 4]),
        Attention("hidden keys, one query sees none", tokens: 4, keys: 4, new AttentionLayout(2, 1, 2, 0.7f), [0, 2, 0, 2, 2, 2, 2, 2],
            visible: [0, 1, 1, 1, 1, 0, 0, 1]),
        Attention("values narrower than keys", tokens: 3, keys: 3, new AttentionLayout(4, 2, 4, 0.5f, ValueDim: 2), [0, 3, 0, 3]),
        Attention("values wider than keys", tokens: 3, keys: 5, new AttentionLayout(2, 2, 2, 0.7f, ValueDim: 3), [0, 3, 0, 5]),
        Attention("sinks", tokens: 4, keys: 4, new AttentionLayout(4, 2, 2, 0.7f), [0, 4, 0, 4], sinks: true),
        Attention("sinks and window over ragged sequences", tokens: 4, keys: 9, new AttentionLayout(2, 1, 2, 0.7f, Window: 2), [0, 2, 0, 5, 2, 2, 5, 4], sinks: true),
        Attention("sinks and hidden keys, one query sees none", tokens: 4, keys: 4, new AttentionLayout(2, 1, 2, 0.7f, ValueDim: 3), [0, 2, 0, 2, 2, 2, 2, 2],
            visible: [0, 1, 1, 1, 1, 0, 0, 1], sinks: true),
    ];

    private static Tensor Rope(Tape g, Tensor x, RopeLayout layout) => g.Rope(
        x, Ints(g, 0, 1, 5, 2), g.Constant<float>([3], DType.F32, [1, 0.3f, 0.05f]), layout);

    private static GradientRow Attention(string what, int tokens, int keys, AttentionLayout layout, int[] sequences, int[]? visible = null,
        bool sinks = false)
    {
        int queryCols = layout.Heads * layout.HeadDim, keyCols = layout.KvHeads * layout.HeadDim, valueCols = layout.KvHeads * layout.ValueDim;
        Leaf[] inputs = [Normal(tokens, queryCols), Normal(keys, keyCols), Normal(keys, valueCols)];
        return new GradientRow(typeof(AttentionOp), what, sinks ? [.. inputs, Normal(layout.Heads)] : inputs, (g, x) =>
        {
            Tensor table = g.Constant<int>([sequences.Length / 4, 4], DType.I32, sequences);
            Tensor? mask = visible is null ? null : g.Constant<int>([tokens, visible.Length / tokens], DType.I32, visible);
            return g.Attention(x[0], x[1], x[2], table, mask, layout, sinks ? x[3] : null);
        });
    }
}
