using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>Slots, rows of the table, columns.</summary>
    private static readonly (int S, int T, int D)[] Moves =
        [(1, 1, 1), (3, 5, 7), (13, 4, 3), (9, 2, 13), (17, 33, 17), (8, 65, 33), (33, 3, 65), (0, 3, 5), (400, 50, 130), (6, 900, 3), (2600, 70, 3)];

    [Theory, MemberData(nameof(WeightTypes))]
    public void GatherRows_reads_all_rows_or_a_range(DType type)
    {
        foreach ((int S, int T, int D) in Moves)
        {
            Agree(Exact, t => t.Backend.GatherRows(t.Normal([T, D], type), Index(t, S, T), default, t.Output("y", [S, D])));
            Agree(Exact, t => t.Backend.GatherRows(t.Normal([T, D], type), Index(t, S, T), Middle(t, S), t.Zeroed("y", [S, D], DType.F32)));
        }
    }

    [Fact]
    public void ScatterAddRows_adds_in_order()
    {
        foreach ((int S, int T, int D) in Moves)
        {
            Agree(Exact, t => t.Backend.ScatterAddRows(t.Normal([S, D]), Index(t, S, T), default, t.Accumulator("y", [T, D])));
            Agree(Exact, t => t.Backend.ScatterAddRows(t.Normal([S, D]), Index(t, S, T), Middle(t, S), t.Accumulator("y", [T, D])));
        }
    }

    [Theory, MemberData(nameof(WeightTypes))]
    public void WriteRows_replaces_only_the_named_rows(DType dtype)
    {
        foreach ((int S, int T, int D) in Moves)
        {
            int rows = Math.Min(S, T);
            int[] distinct = [.. Enumerable.Range(0, T).OrderBy(i => new Noise(12).Bits(i)).Take(rows)];
            Agree(Exact, t => t.Backend.WriteRows(t.Normal([rows, D]), t.Input([rows], distinct), t.Zeroed("y", [T, D], dtype)));
        }
    }

    [Fact]
    public void AddColumns_moves_columns_between_heads()
    {
        foreach ((int T, HeadColumns from, HeadColumns to, int width) in ColumnMoves)
            foreach ((HeadColumns x, HeadColumns y) in new[] { (from, to), (to, from) })
                Agree(Exact, t => t.Backend.AddColumns(
                    t.Normal([T, x.Heads * x.HeadDim]), x, y, width, t.Accumulator("y", [T, y.Heads * y.HeadDim])));
    }

    [Fact]
    public void AddColumns_spreads_one_head_and_sums_into_one()
    {
        HeadColumns one = new(1, 3, First: 1), two = new(2, 3);
        Assert.Equal([2, 3, 0, 2, 3, 0], Moved([1, 2, 3], one, two));
        Assert.Equal([0, 1 + 4, 2 + 5], Moved([1, 2, 3, 4, 5, 6], two, one));

        float[] Moved(float[] x, HeadColumns from, HeadColumns to) => Trial.Run(Subject, 1, t => t.Backend.AddColumns(
            t.Input([1, x.Length], x), from, to, 2, t.Accumulator("y", [1, to.Heads * 3], new float[to.Heads * 3]))).Single().Floats;
    }

    /// <summary>Narrow and wide columns, pairs taken apart, as many heads on both sides and one on either, no rows, no columns.</summary>
    private static readonly (int T, HeadColumns From, HeadColumns To, int Width)[] ColumnMoves =
    [
        (1, new(1, 1), new(1, 1), 1),
        (5, new(9, 2, 1), new(9, 1), 1),
        (3, new(4, 24), new(4, 20, 3), 17),
        (7, new(1, 40, 32), new(4, 24, 16), 8),
        (70, new(1, 64), new(16, 65, 1), 64),
        (400, new(3, 96, 48), new(3, 48), 48),
        (0, new(2, 3), new(2, 3), 2),
        (2, new(2, 3, 3), new(2, 5), 0),
    ];

    private static Tensor Index(Trial t, int S, int T) => t.Input([S], [.. Enumerable.Range(0, S).Select(s => t.Noise(13).Below(T, s))]);

    /// <summary>The second and third of four experts: a run that starts after the first slots and ends before the last.</summary>
    private static SlotRange Middle(Trial t, int S) => new(t.Input([5], [0, S / 4, S / 2, S - S / 4, S]), 1, 2);
}
