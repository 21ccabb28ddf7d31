using System.Runtime.InteropServices;
using MoeFromScratch.Model.Tracing;

namespace MoeFromScratch.Model.Tests.Parity;

/// <summary>Equality to the last bit.</summary>
public static class Bits
{
    public static void Equal(string name, ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        if (!MemoryMarshal.AsBytes(expected).SequenceEqual(MemoryMarshal.AsBytes(actual)))
            Assert.Fail($"{name} is not bit-equal");
    }

    public static void Equal(Trace expected, Trace actual)
    {
        Assert.Equal(expected.Tensors.Select(static t => t.Name), actual.Tensors.Select(static t => t.Name));
        foreach (((string name, Tensors.Tensor e), (_, Tensors.Tensor a)) in expected.Tensors.Zip(actual.Tensors))
            Assert.True(e.Shape == a.Shape && e.Host<byte>().SequenceEqual(a.Host<byte>()), $"{name} is not bit-equal");
        GC.KeepAlive(expected);
        GC.KeepAlive(actual);
    }
}
