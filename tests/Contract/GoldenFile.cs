using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;
using Xunit;

namespace MoeFromScratch.Contract;

/// <summary>A file of tests/golden/numerics, its tensors on a backend; what it hands out, it frees.</summary>
public sealed class GoldenFile : IDisposable
{
    private readonly SafetensorsFile _file;
    private readonly double _tolerance;
    private readonly List<Tensor> _tensors = [];

    /// <param name="name">The file's name without extension.</param>
    /// <param name="tolerance">Largest deviation let through: |difference| / max(1, largest expected magnitude in the tensor).</param>
    public GoldenFile(string name, IBackend backend, double tolerance)
    {
        _file = SafetensorsFile.Open(Path.Combine(Golden.Folder("numerics"), name + ".safetensors"));
        (Backend, _tolerance) = (backend, tolerance);
    }

    public IBackend Backend { get; }

    public Shape Shape(string name) => _file.Get(name).Shape;

    public float[] Floats(string name) => _file.Get(name).Floats.ToArray();

    public int[] Ints(string name) => Array.ConvertAll(_file.Get(name).Host<long>().ToArray(), x => checked((int)x));

    /// <summary>The raw bits of a BF16 or F16 tensor.</summary>
    public ushort[] Halves(string name) => _file.Get(name).Host<ushort>().ToArray();

    /// <summary>A hyper-parameter.</summary>
    public double Scalar(string name) => _file.Get(name) is { DType: DType.F64 } x ? x.Host<double>()[0] : _file.Get(name).Floats[0];

    /// <summary>An F32 tensor of the file.</summary>
    public Tensor Get(string name) => From(Shape(name), Floats(name));

    /// <summary>An I64 tensor of the file as I32.</summary>
    public Tensor GetInts(string name) => From(Shape(name), Ints(name));

    /// <summary>[B, heads, S, K] of the file, packed as the seam wants it: [B·S, heads·K].</summary>
    public Tensor GetPacked(string name)
    {
        Shape s = Shape(name);
        return From([s[0] * s[2], s[1] * s[3]], Packed(name));
    }

    public Tensor From(Shape shape, ReadOnlySpan<float> values) => Keep(Backend.From(shape, values));

    public Tensor From(Shape shape, ReadOnlySpan<int> values) => Keep(Backend.From(shape, values));

    public Tensor New(Shape shape, DType dtype = DType.F32) => Keep(Backend.New(shape, dtype));

    public Tensor Zeros(Shape shape) => Keep(Backend.Zeros(shape));

    public void AssertClose(string expected, Tensor actual) => AssertClose(expected, Floats(expected), Backend.ToFloats(actual));

    public void AssertPackedClose(string expected, Tensor actual) => AssertClose(expected, Packed(expected), Backend.ToFloats(actual));

    public void AssertClose(string name, ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = 1;
        foreach (float e in expected)
            scale = Math.Max(scale, Math.Abs(e));
        for (int i = 0; i < expected.Length; i++)
            if (!(Math.Abs((double)actual[i] - expected[i]) <= _tolerance * scale))
                Assert.Fail($"{name}[{i}] is {actual[i]:R}, expected {expected[i]:R} within {_tolerance * scale:R}");
    }

    public void Dispose()
    {
        foreach (Tensor tensor in _tensors)
            Backend.Free(tensor);
        _file.Dispose();
    }

    private Tensor Keep(Tensor tensor)
    {
        _tensors.Add(tensor);
        return tensor;
    }

    private float[] Packed(string name)
    {
        Shape shape = Shape(name);
        (int B, int H, int S, int K) = (shape[0], shape[1], shape[2], shape[3]);
        float[] x = Floats(name), packed = new float[x.Length];
        for (int b = 0; b < B; b++)
            for (int h = 0; h < H; h++)
                for (int s = 0; s < S; s++)
                    x.AsSpan(((b * H + h) * S + s) * K, K).CopyTo(packed.AsSpan(((b * S + s) * H + h) * K));
        return packed;
    }
}
