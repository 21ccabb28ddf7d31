using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Tracing;

public sealed class TraceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void ReadsIdsAndMask()
    {
        TraceInput input = TraceInput.Read(Put("ids.json", "[[1, 2, 3], [4, 5, 0]]"), vocabSize: 6, Put("mask.json", "[[1, 1, 1], [1, 1, 0]]"));
        Assert.Equal([1, 2, 3, 4, 5, 0], input.Ids);
        Assert.Equal([1, 1, 1, 1, 1, 0], input.Mask!);
        Assert.Equal((2, 3), (input.Sequences, input.Length));
        Assert.Null(TraceInput.Read(_folder["ids.json"], vocabSize: 6).Mask);
    }

    [Theory]
    [InlineData("[[1, 6]]", "6 is not a token id of the model (0 to 5)")]
    [InlineData("[[1, -1]]", "-1 is not a token id")]
    [InlineData("[[1], [1, 2]]", "rows of equal length")]
    [InlineData("[]", "rows of equal length")]
    [InlineData("[[]]", "rows of equal length")]
    [InlineData("[[1], null]", "rows of equal length")]
    [InlineData("null", "rows of equal length")]
    [InlineData("[1, 2]", "list of lists of integers")]
    [InlineData("[[1.5]]", "list of lists of integers")]
    [InlineData("[[9999999999]]", "list of lists of integers")]
    [InlineData("{", "list of lists of integers")]
    [InlineData("", "list of lists of integers")]
    public void BadIdsAreRefused(string json, string rule)
    {
        CheckpointException refusal = TemporaryFolder.AssertRefused(rule, () => TraceInput.Read(Put("ids.json", json), vocabSize: 6));
        Assert.Contains("ids.json", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[[1, 2]]", "2 is not 0 or 1")]
    [InlineData("[[1]]", "has 1 rows of 1, the ids have 1 of 2")]
    [InlineData("[[1, 1], [1, 1]]", "has 2 rows of 2")]
    [InlineData("[[0, 0]]", "masks every token")]
    public void BadMasksAreRefused(string json, string rule)
    {
        Put("ids.json", "[[3, 4]]");
        CheckpointException refusal = TemporaryFolder.AssertRefused(rule, () => TraceInput.Read(_folder["ids.json"], 6, Put("mask.json", json)));
        Assert.Contains("mask.json", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingInputIsRefused() =>
        TemporaryFolder.AssertRefused("ids.json", () => TraceInput.Read(_folder["ids.json"], 6));

    [Fact]
    public void ComparisonFindsTheLargestDifference()
    {
        TraceComparison comparison = TraceComparison.Of(
            Make([1, 2, float.NaN, float.PositiveInfinity], [1, 2, 3]), Make([1, 2.5f, float.NaN, float.PositiveInfinity], [1, 5, 6]));
        Assert.Equal(0.5f, Assert.Single(comparison.Largest).Value);
        Assert.Equal(2, comparison.Different["ids"]);
        Assert.True(float.IsNaN(TraceComparison.Of(Make([1, 2], [1]), Make([1, float.NaN], [1])).Largest["x"]));
    }

    [Fact]
    public void ComparisonRefusesDifferentTraces()
    {
        Assert.Throws<ArgumentException>(() => TraceComparison.Of(Make([1], [1]), new Trace()));
        Assert.Throws<ArgumentException>(() => TraceComparison.Of(Make([1], [1]), Make([1, 2], [1])));
        Trace other = new();
        other.Add("x", [1], [1f]);
        other.Add("y", [1], [1L]);
        Assert.Throws<ArgumentException>(() => TraceComparison.Of(Make([1], [1]), other));
    }

    private static Trace Make(float[] floats, long[] integers)
    {
        Trace trace = new();
        trace.Add("x", [floats.Length], floats);
        trace.Add("ids", [integers.Length], integers);
        return trace;
    }

    private string Put(string file, string json)
    {
        File.WriteAllText(_folder[file], json);
        return _folder[file];
    }
}
