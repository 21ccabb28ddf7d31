using System.Runtime.InteropServices;
using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

/// <summary>What a call left in one of its outputs.</summary>
public sealed record Outcome(string Name, DType DType, byte[] Bytes)
{
    /// <summary>
    /// Fails unless |actual − expected| ≤ tolerance · max(1, |expected|) in every element; integers, infinities and NaNs
    /// (of whatever payload) must be the same.
    /// </summary>
    public static void AssertClose(IReadOnlyList<Outcome> expected, IReadOnlyList<Outcome> actual, double tolerance)
    {
        Assert.Equal(expected.Count, actual.Count);
        foreach ((Outcome e, Outcome a) in expected.Zip(actual))
            a.AssertClose(e, tolerance);
    }

    private void AssertClose(Outcome expected, double tolerance)
    {
        double[] e = expected.Values(), a = Values();
        for (int i = 0; i < e.Length; i++)
            if (!e[i].Equals(a[i]) && !(Math.Abs(a[i] - e[i]) <= tolerance * Math.Max(1, Math.Abs(e[i]))))
                Assert.Fail($"{Name}[{i}] is {a[i]:R}, expected {e[i]:R} within {tolerance:R}");
    }

    /// <summary>The elements of an F32 output.</summary>
    public float[] Floats => As<float>();

    /// <summary>The elements of an I32 output.</summary>
    public int[] Ints => As<int>();

    private double[] Values() => DType switch
    {
        DType.F32 => Array.ConvertAll(Floats, x => (double)x),
        DType.BF16 => Array.ConvertAll(As<ushort>(), x => (double)DTypes.FromBF16(x)),
        DType.F16 => Array.ConvertAll(As<ushort>(), x => (double)DTypes.FromF16(x)),
        DType.I32 => Array.ConvertAll(As<int>(), x => (double)x),
        _ => Array.ConvertAll(As<long>(), x => (double)x),
    };

    private T[] As<T>() where T : unmanaged => MemoryMarshal.Cast<byte, T>(Bytes).ToArray();
}
