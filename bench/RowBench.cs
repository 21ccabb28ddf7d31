using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>What goes through memory once: norm, softmax, SwiGLU's gate, the optimiser, and the choice of experts and their slots.</summary>
[ShortRunJob]
public class RowBench : IDisposable
{
    private const int Width = 1024, Experts = 64, TopK = 8;
    private readonly IBackend _cpu = CpuBackend.Create();
    private Tensor _x = null!, _y = null!, _z = null!, _w = null!, _r = null!, _m = null!, _v = null!, _scores = null!, _mask = null!, _offsets = null!, _token = null!, _expert = null!;

    [Params(1, 64, 2048)]
    public int Rows { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        (_x, _y, _z) = (Inputs.Random(_cpu, [Rows, Width], 1), Inputs.Random(_cpu, [Rows, Width], 2), Inputs.Random(_cpu, [Rows, Width], 3));
        (_w, _r) = (Inputs.Random(_cpu, [Width], 4), _cpu.New([Rows]));
        (_m, _v) = (Inputs.Random(_cpu, [Rows, Width], 5), _cpu.New([Rows, Width]));
        _cpu.Fill(_v, 1);
        (_scores, _mask) = (Inputs.Random(_cpu, [Rows, Experts], 6), _cpu.New([Rows, Experts]));
        (_offsets, _token, _expert) = (_cpu.New([Experts + 1], DType.I32), _cpu.New([Rows * TopK], DType.I32), _cpu.New([Rows * TopK], DType.I32));
    }

    [Benchmark]
    public void RmsNorm() => _cpu.RmsNorm(_x, _w, 1e-5f, _y, _r);

    [Benchmark]
    public void Softmax() => _cpu.Softmax(_x, _y);

    [Benchmark]
    public void Gated() => _cpu.Gated<Silu>(_x, _z, _y);

    [Benchmark]
    public void AdamW() => _cpu.AdamW(_x, new AdamWStep(10, 1e-6f, 0.9, 0.999, 1e-8f, 0.01f), _z, _m, _v);

    [Benchmark]
    public void SelectAndSlot()
    {
        _cpu.SelectTopK(_scores, TopK, _mask);
        _cpu.CountSlots(_mask, _offsets);
        _cpu.FillSlots(_mask, _offsets, _token, _expert);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
