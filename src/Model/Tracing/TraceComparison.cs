using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tracing;

/// <summary>How far two traces of the same run are apart.</summary>
/// <param name="Largest">Per F32 tensor: the largest absolute difference, NaN when one of two values is NaN.</param>
/// <param name="Different">Per I64 tensor: how many integers differ, such as routing decisions.</param>
public sealed record TraceComparison(IReadOnlyDictionary<string, float> Largest, IReadOnlyDictionary<string, int> Different)
{
    /// <exception cref="ArgumentException">One trace has a tensor, or a shape, that the other has not.</exception>
    public static TraceComparison Of(Trace a, Trace b)
    {
        if (a.Tensors.Count != b.Tensors.Count)
            throw new ArgumentException($"one trace has {a.Tensors.Count} tensors, the other {b.Tensors.Count}");
        Dictionary<string, float> largest = [];
        Dictionary<string, int> different = [];
        foreach ((string name, Tensor x) in a.Tensors)
        {
            Tensor? y = b.Find(name);
            if (y is null || x.Shape != y.Shape || x.DType != y.DType)
                throw new ArgumentException($"{x.Describe()} has no counterpart");
            if (x.DType == DType.F32)
                largest[name] = LargestDifference(x.Floats, y.Floats);
            else
                different[name] = CountDifferent(x.Host<long>(), y.Host<long>());
        }
        return new TraceComparison(largest, different);
    }

    private static float LargestDifference(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        float largest = 0;
        for (int i = 0; i < x.Length; i++)
            largest = x[i].Equals(y[i]) ? largest : MathF.Max(largest, MathF.Abs(x[i] - y[i]));
        return largest;
    }

    private static int CountDifferent(ReadOnlySpan<long> x, ReadOnlySpan<long> y)
    {
        int count = 0;
        for (int i = 0; i < x.Length; i++)
            count += x[i] == y[i] ? 0 : 1;
        return count;
    }
}
