using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>The matmuls of a model: y = x·wᵀ, its two gradients, and one product per expert.</summary>
[MemoryDiagnoser, ShortRunJob]
public class GemmBench : IDisposable
{
    private const int Experts = 8;
    private readonly IBackend _cpu = CpuBackend.Create();
    private readonly Tensor[] _experts = new Tensor[Experts];
    private Tensor _x = null!, _w = null!, _narrow = null!, _y = null!, _offsets = null!;

    [Params("1024x1024x1024", "2048x1024x4096")]
    public string Shape { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        int[] s = Array.ConvertAll(Shape.Split('x'), int.Parse);
        (int t, int d, int n) = (s[0], s[1], s[2]);
        _x = Inputs.Random(_cpu, [t, d], 1);
        _w = Inputs.Random(_cpu, [n, d], 2);
        _y = Inputs.Random(_cpu, [t, n], 3);
        _narrow = _cpu.New([n, d], DType.BF16);
        _cpu.Copy(_w, _narrow);
        for (int e = 0; e < Experts; e++)
            _experts[e] = Inputs.Random(_cpu, [n, d], 4 + e);
        int[] offsets = new int[Experts + 1];
        for (int e = 1; e <= Experts; e++)
            offsets[e] = t * e * (e + 1) / (Experts * (Experts + 1));
        _offsets = _cpu.From([Experts + 1], offsets);
    }

    [Benchmark(Baseline = true)]
    public void Linear() => _cpu.Linear(_x, _w, _y);

    [Benchmark]
    public void LinearBF16() => _cpu.Linear(_x, _narrow, _y);

    [Benchmark]
    public void GradInput() => _cpu.LinearGradInput(_y, _w, _x);

    [Benchmark]
    public void GradWeight() => _cpu.LinearGradWeight(_y, _x, _w);

    /// <summary>Eight experts with 1/36, 2/36, … 8/36 of the rows: as many multiplications as <see cref="Linear"/>.</summary>
    [Benchmark]
    public void Grouped() => _cpu.GroupedLinear(_x, new SlotRange(_offsets, 0, Experts), _experts, _y);

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
