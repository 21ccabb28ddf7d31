namespace MoeFromScratch.Model.Tests.Parity;

/// <summary>The tolerances that tests/golden/README.md recommends, by the names of the tensors.</summary>
public static class Close
{
    /// <summary>Any tensor of a golden file or a trace.</summary>
    public static void ByName(string name, HostTensor expected, HostTensor actual)
    {
        Assert.True(expected.Shape == actual.Shape, $"{name} has shape {actual.Shape}, expected {expected.Shape}");
        if (expected.Integers is not null)
            Assert.True(expected.Integers.AsSpan().SequenceEqual(actual.Integers), $"{name} differs");
        else if (name.StartsWith("grad.", StringComparison.Ordinal))
            Gradient(name, expected.Floats!, actual.Floats!);
        else if (name.StartsWith("router.", StringComparison.Ordinal))
            Within(name, expected.Floats!, actual.Floats!, 2e-5f, 1e-5f);
        else if (name.EndsWith("loss", StringComparison.Ordinal))
            Within(name, expected.Floats!, actual.Floats!, 2e-5f, 0);
        else
            Activations(name, expected.Floats!, actual.Floats!);
    }

    /// <summary>Logits, hidden states: |a − b| ≤ 5e-5 + 1e-5 · |b|.</summary>
    public static void Activations(string name, ReadOnlySpan<float> expected, ReadOnlySpan<float> actual) =>
        Within(name, expected, actual, 5e-5f, 1e-5f);

    /// <summary>|a − b| ≤ 2e-6 + 2e-4 · max|b| over the tensor.</summary>
    public static void Gradient(string name, float[] expected, float[] actual) =>
        Within(name, expected, actual, 2e-6f + 2e-4f * expected.Max(MathF.Abs), 0);

    /// <summary>|a − b| ≤ absolute + relative · |b|; NaN is close to nothing.</summary>
    public static void Within(string name, ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, float absolute, float relative)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            if (!(MathF.Abs(actual[i] - expected[i]) <= absolute + relative * MathF.Abs(expected[i])))
                Assert.Fail($"{name}[{i}] is {actual[i]:R}, expected {expected[i]:R}");
    }
}
