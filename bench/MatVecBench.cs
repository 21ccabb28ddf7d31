using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>A decoding step's matmul, one row by a matrix in each storage type: in the cache, and beyond it.</summary>
[ShortRunJob]
public class MatVecBench : IDisposable
{
    private readonly IBackend _cpu = CpuBackend.Create();
    private Tensor _x = null!, _w = null!, _y = null!;

    [Params("512x512", "8192x4096")]
    public string Shape { get; set; } = "";

    [Params(DType.F32, DType.BF16, DType.F16)]
    public DType Type { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        int[] s = Array.ConvertAll(Shape.Split('x'), int.Parse);
        (_x, _y) = (Inputs.Random(_cpu, [1, s[1]], 1), _cpu.New([1, s[0]]));
        _w = _cpu.New([s[0], s[1]], Type);
        _cpu.Copy(Inputs.Random(_cpu, [s[0], s[1]], 2), _w);
    }

    [Benchmark]
    public void Linear() => _cpu.Linear(_x, _w, _y);

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
