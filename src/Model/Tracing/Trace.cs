using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tracing;

/// <summary>
/// Named tensors in host memory: what a forward pass, its gradients and a few training steps looked like, under the
/// names the golden fixtures use. Floats are F32; ids, masks and counts I64.
/// </summary>
public sealed class Trace
{
    private readonly List<(string Name, Tensor Value)> _tensors = [];

    public IReadOnlyList<(string Name, Tensor Value)> Tensors => _tensors;

    public void Add(string name, Shape shape, ReadOnlySpan<float> values)
    {
        Tensor host = new(shape, DType.F32, new NativeStorage(shape.Count * sizeof(float))) { Name = name };
        values.CopyTo(host.Floats);
        _tensors.Add((name, host));
    }

    public void Add(string name, Shape shape, ReadOnlySpan<long> values)
    {
        Tensor host = new(shape, DType.I64, new NativeStorage(shape.Count * sizeof(long))) { Name = name };
        values.CopyTo(host.Host<long>());
        _tensors.Add((name, host));
    }

    /// <summary>The tensor with a name, or null.</summary>
    public Tensor? Find(string name) => _tensors.Find(t => t.Name == name).Value;
}
