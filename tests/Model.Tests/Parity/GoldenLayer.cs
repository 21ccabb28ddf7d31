using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Parity;

/// <summary>A golden case of one layer alone: its inputs, its weights by names of its own, and what came of them.</summary>
public sealed class GoldenLayer(string name) : IWeightSource
{
    private readonly Dictionary<string, HostTensor> _weights = GoldenCase.Read(name, "model.safetensors");

    public IReadOnlyDictionary<string, HostTensor> Expected { get; } = GoldenCase.Read(name, "expected.safetensors");
    public IReadOnlyDictionary<string, HostTensor> Gradients { get; } = GoldenCase.Read(name, "grads.safetensors");

    /// <summary>The file's name for one of our paths.</summary>
    public required Func<string, string> NameInFile { get; init; }

    /// <summary>Whether a matrix of the file is stored the other way round.</summary>
    public bool Transposed { get; init; }

    public Tensor Get(string path, Shape shape, Init init)
    {
        Tensor y = new(shape, DType.F32, new NativeStorage(shape.Count * sizeof(float)));
        HostTensor stored = _weights[NameInFile(path)];
        (Transposed ? Transpose(stored) : stored.Floats!).CopyTo(y.Floats);
        return y;
    }

    /// <summary>An input of the file as a leaf that collects a gradient: as a matrix, the last dimension its columns.</summary>
    public Tensor Leaf(IBackend backend, string tensor)
    {
        HostTensor x = Expected[tensor];
        int columns = x.Shape[x.Shape.Rank - 1];
        Tensor y = backend.From([x.Floats!.Length / columns, columns], x.Floats);
        y.RequiresGrad = true;
        y.Grad = backend.Zeros(y.Shape);
        return y;
    }

    public Tensor Constant(Tape g, string tensor)
    {
        HostTensor x = Expected[tensor];
        int columns = x.Shape[x.Shape.Rank - 1];
        return g.Constant<float>([x.Floats!.Length / columns, columns], DType.F32, x.Floats);
    }

    /// <summary>Compares floats, or whole numbers that a tensor keeps as floats, whatever their shapes.</summary>
    public void Close(string tensor, IBackend backend, Tensor actual)
    {
        HostTensor expected = Expected[tensor];
        if (expected.Integers is { } integers)
            Assert.Equal(integers, backend.ToFloats(actual).Select(static f => (long)f));
        else
            Parity.Close.Within(tensor, expected.Floats!, backend.ToFloats(actual), 2e-5f, 1e-5f);
    }

    public void GradientsClose(IBackend backend, WeightStore weights)
    {
        foreach (Tensor p in weights.All)
            GradientClose(NameInFile(p.Name!), p.Shape, backend.ToFloats(p.Grad!));
    }

    public void GradientClose(string tensor, Shape shape, float[] actual)
    {
        HostTensor expected = Gradients["grad." + tensor];
        bool turned = Transposed && expected.Shape.Rank == 2;
        if (turned)
            Assert.Equal((expected.Shape[1], expected.Shape[0]), (shape[0], shape[1]));
        Parity.Close.Gradient(tensor, turned ? Transpose(expected) : expected.Floats!, actual);
    }

    private static float[] Transpose(HostTensor x)
    {
        int rows = x.Shape[0], columns = x.Shape[1];
        return [.. Enumerable.Range(0, rows * columns).Select(i => x.Floats![i % rows * columns + i / rows])];
    }
}
