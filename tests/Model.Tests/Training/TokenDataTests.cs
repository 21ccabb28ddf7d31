using MoeFromScratch.Model.Training;

namespace MoeFromScratch.Model.Tests.Training;

public sealed class TokenDataTests
{
    private const int Context = 7;
    private readonly TokenData _data = new([.. Enumerable.Range(0, 200)], Context);   // 180 to train on, 20 to validate

    [Fact]
    public void LabelsAreTheNextTokens()
    {
        HashSet<int> starts = [];
        for (int step = 0; step < 40; step++)
        {
            int[] inputs = new int[3 * Context], labels = new int[3 * Context];
            _data.Train(seed: 5, step, microBatch: 0, inputs, labels);
            Assert.Equal(inputs.Select(static x => x + 1), labels);
            for (int w = 0; w < 3; w++)
            {
                Assert.Equal(Enumerable.Range(inputs[w * Context], Context), inputs[(w * Context)..((w + 1) * Context)]);
                Assert.InRange(labels[(w + 1) * Context - 1], 0, 179);
                starts.Add(inputs[w * Context]);
            }
        }
        Assert.True(starts.Count > 60, $"120 windows begin at {starts.Count} places");
    }

    [Fact]
    public void WindowsDependOnSeedStepAndMicroBatch()
    {
        int[] first = Windows(1, 1, 0);
        Assert.Equal(first, Windows(1, 1, 0));
        Assert.NotEqual(first, Windows(2, 1, 0));
        Assert.NotEqual(first, Windows(1, 2, 0));
        Assert.NotEqual(first, Windows(1, 1, 1));

        int[] Windows(ulong seed, long step, int micro)
        {
            int[] inputs = new int[4 * Context];
            _data.Train(seed, step, micro, inputs, new int[4 * Context]);
            return inputs;
        }
    }

    [Fact]
    public void ValidationWindowsLieEndToEnd()
    {
        Assert.Equal(2, _data.ValidationWindows);
        int[] inputs = new int[2 * Context], labels = new int[2 * Context];
        _data.Validation(0, inputs, labels);
        Assert.Equal(Enumerable.Range(180, 2 * Context), inputs);
        Assert.Equal(Enumerable.Range(181, 2 * Context), labels);
        _data.Validation(1, inputs.AsSpan(0, Context), labels.AsSpan(0, Context));
        Assert.Equal(Enumerable.Range(187, Context), inputs[..Context]);
    }

    [Theory]
    [InlineData(70, 0.1f)]
    [InlineData(79, 0.1f)]
    [InlineData(8, 0.9f)]
    [InlineData(0, 0.1f)]
    public void RefusesTooLittleText(int tokens, float share)
    {
        ArgumentException e = Assert.Throws<ArgumentException>(() => new TokenData(new int[tokens], Context, share));
        Assert.Contains("too few", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheSmallestTextHasOneWindowInEachPart()
    {
        TokenData data = new([.. Enumerable.Range(0, 16)], Context, validationShare: 0.5f);
        int[] inputs = new int[Context], labels = new int[Context];
        data.Train(1, 1, 0, inputs, labels);
        Assert.Equal(Enumerable.Range(0, Context), inputs);
        Assert.Equal(1, data.ValidationWindows);
        data.Validation(0, inputs, labels);
        Assert.Equal(15, labels[^1]);
    }
}
