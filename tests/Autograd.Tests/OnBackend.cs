using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>
/// A test class that runs on one backend: its leaves are freed after each test, and then nothing may be alive, so every
/// test is a leak test too. <c>Backends.cs</c> lists which class runs where.
/// </summary>
public abstract class OnBackend(IBackend backend) : IDisposable
{
    private readonly List<Tensor> _leaves = [];

    protected IBackend Backend => backend;

    /// <summary>A leaf of random values with a gradient of zeros beside it.</summary>
    protected Tensor Parameter(Shape shape, int stream = 0, float scale = 1)
    {
        Tensor x = Constant(shape, stream, scale);
        x.RequiresGrad = true;
        x.Grad = backend.Zeros(shape);
        return x;
    }

    /// <summary>A leaf of random values without a gradient.</summary>
    protected Tensor Constant(Shape shape, int stream = 0, float scale = 1)
    {
        Tensor x = backend.From(shape, Values.Normal(shape.Count, stream, scale));
        _leaves.Add(x);
        return x;
    }

    /// <summary>What has accumulated beside a parameter.</summary>
    protected float[] GradOf(Tensor parameter) => backend.ToFloats(parameter.Grad!);

    public void Dispose()
    {
        foreach (Tensor x in _leaves)
        {
            if (x.Grad is { } dx)
                backend.Free(dx);
            backend.Free(x);
        }
        int alive = backend.LiveBuffers;
        backend.Dispose();
        GC.SuppressFinalize(this);
        Assert.Equal(0, alive);
    }
}

/// <summary>Random test values, the same on every machine.</summary>
internal static class Values
{
    public static float[] Normal(long count, int stream, float scale = 1)
    {
        CounterRandom random = new(Seed: 1, (ulong)stream);
        return [.. Enumerable.Range(0, (int)count).Select(i => scale * random.Normal((ulong)i))];
    }
}
