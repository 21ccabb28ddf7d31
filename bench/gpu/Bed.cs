using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

/// <summary>Tensors of one measurement, freed together.</summary>
internal sealed class Bed(IBackend backend) : IDisposable
{
    private static readonly float[] s_pool = [.. Enumerable.Range(0, 1 << 20).Select(static i => 0.02f * new CounterRandom(1, 5).Normal((ulong)i))];

    private readonly List<Tensor> _tensors = [];

    public IBackend Backend => backend;

    public Tensor New(Shape shape, DType dtype = DType.F32)
    {
        Tensor y = backend.New(shape, dtype);
        _tensors.Add(y);
        return y;
    }

    public Tensor Zeros(Shape shape)
    {
        Tensor y = New(shape);
        backend.Fill(y, 0);
        return y;
    }

    /// <summary>Small normal numbers, the same over and over.</summary>
    public Tensor Random(Shape shape, DType dtype = DType.F32)
    {
        Tensor y = New(shape);
        float[] values = new float[shape.Count];
        for (long i = 0; i < values.LongLength; i += s_pool.Length)
            Array.Copy(s_pool, 0, values, i, Math.Min(s_pool.Length, values.LongLength - i));
        backend.Upload<float>(values, y);
        if (dtype == DType.F32)
            return y;
        Tensor narrow = New(shape, dtype);
        backend.Copy(y, narrow);
        _tensors.Remove(y);
        backend.Free(y);
        return narrow;
    }

    public Tensor Ints(params int[] values)
    {
        Tensor y = New([values.Length], DType.I32);
        backend.Upload<int>(values, y);
        return y;
    }

    public void Dispose() => _tensors.ForEach(backend.Free);
}
