using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>A step of the optimiser on one parameter: in the cache, and beyond it.</summary>
[ShortRunJob]
public class AdamWBench : IDisposable
{
    private readonly IBackend _cpu = CpuBackend.Create();
    private Tensor _g = null!, _p = null!, _m = null!, _v = null!;

    [Params(1 << 16, 1 << 24)]
    public int Count { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        (_g, _p, _m, _v) = (Inputs.Random(_cpu, [Count], 1), Inputs.Random(_cpu, [Count], 2), Inputs.Random(_cpu, [Count], 3), _cpu.New([Count]));
        _cpu.Fill(_v, 1);
    }

    [Benchmark]
    public void Step() => _cpu.AdamW(_g, new AdamWStep(10, 1e-6f, 0.9, 0.999, 1e-8f, 0.01f), _p, _m, _v);

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
