using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>What goes through memory once: norm, softmax, rotary positions and SwiGLU's gate.</summary>
[ShortRunJob]
public class RowBench : IDisposable
{
    private const int Width = 1024, HeadDim = 64;
    private readonly IBackend _cpu = CpuBackend.Create();
    private Tensor _x = null!, _y = null!, _z = null!, _w = null!, _r = null!, _positions = null!, _frequencies = null!;

    [Params(1, 64, 2048)]
    public int Rows { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        (_x, _y, _z) = (Inputs.Random(_cpu, [Rows, Width], 1), Inputs.Random(_cpu, [Rows, Width], 2), Inputs.Random(_cpu, [Rows, Width], 3));
        (_w, _r) = (Inputs.Random(_cpu, [Width], 4), _cpu.New([Rows]));
        _positions = _cpu.From([Rows], Enumerable.Range(0, Rows).ToArray());
        _frequencies = Inputs.Random(_cpu, [HeadDim / 2], 5);
    }

    [Benchmark]
    public void RmsNorm() => _cpu.RmsNorm(_x, _w, 1e-5f, _y, _r);

    [Benchmark]
    public void Softmax() => _cpu.Softmax(_x, _y);

    [Benchmark]
    public void Rope() => _cpu.Rope(_x, _positions, _frequencies, new RopeLayout(HeadDim), _y);

    [Benchmark]
    public void Gated() => _cpu.Gated<Silu>(_x, _z, _y);

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
