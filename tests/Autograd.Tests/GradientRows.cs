using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>The table of gradient checks. A new op is red until it has a row here; a new functor until it has its two.</summary>
public static partial class GradientRows
{
    public static IReadOnlyList<GradientRow> All { get; } = [.. Elementwise(), .. RowWise(), .. Sequence(), .. Moe()];

    public static GradientRow Named(string name) => All.Single(row => row.Name == name);

    private static Leaf Normal(params ReadOnlySpan<int> dims) => new(Shape.Of(dims));

    private static Tensor Ints(Tape g, params ReadOnlySpan<int> values) => g.Constant([values.Length], DType.I32, values);

    /// <summary>Rows from … to − 1 alone: ops over a range of slots leave the others unwritten.</summary>
    private static Tensor Slots(Tape g, Tensor x, int from, int to) =>
        Ops.GatherRowsOp.GatherRows(g, x, Ints(g, [.. Enumerable.Range(from, to - from)]));
}
