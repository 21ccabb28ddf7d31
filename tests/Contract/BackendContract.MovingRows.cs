using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>Slots, rows of the table, columns.</summary>
    private static readonly (int S, int T, int D)[] Moves =
        [(1, 1, 1), (3, 5, 7), (13, 4, 3), (9, 2, 13), (17, 33, 17), (8, 65, 33), (33, 3, 65), (0, 3, 5), (400, 50, 130)];

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

    [Fact]
    public void WriteRows_replaces_only_the_named_rows()
    {
        foreach ((int S, int T, int D) in Moves)
        {
            int rows = Math.Min(S, T);
            int[] distinct = [.. Enumerable.Range(0, T).OrderBy(i => new Noise(12).Bits(i)).Take(rows)];
            Agree(Exact, t => t.Backend.WriteRows(t.Normal([rows, D]), t.Input([rows], distinct), t.Accumulator("y", [T, D])));
        }
    }

    private static Tensor Index(Trial t, int S, int T) => t.Input([S], [.. Enumerable.Range(0, S).Select(s => t.Noise(13).Below(T, s))]);

    /// <summary>The second and third of four experts: a run that starts after the first slots and ends before the last.</summary>
    private static SlotRange Middle(Trial t, int S) => new(t.Input([5], [0, S / 4, S / 2, S - S / 4, S]), 1, 2);
}
