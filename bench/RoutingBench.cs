using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>A layer's choice of experts, and the list of its slots.</summary>
[ShortRunJob]
public class RoutingBench : IDisposable
{
    private const int TopK = 2;
    private readonly IBackend _cpu = CpuBackend.Create();
    private Tensor _scores = null!, _probs = null!, _mask = null!, _chosen = null!, _offsets = null!, _token = null!, _expert = null!;

    [Params(1, 2048)]
    public int Tokens { get; set; }

    [Params(8, 32, 128)]
    public int Experts { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        (_scores, _probs, _mask, _chosen) = (_cpu.Zeros([Tokens, Experts]), _cpu.New([Tokens, Experts]), _cpu.New([Tokens, Experts]), _cpu.New([Tokens, Experts]));
        _cpu.Axpy(300, Inputs.Random(_cpu, [Tokens, Experts], 1), _scores);
        _cpu.Softmax(_scores, _probs);
        _cpu.SelectTopK(_scores, TopK, _chosen);
        (_offsets, _token, _expert) = (_cpu.New([Experts + 1], DType.I32), _cpu.New([Tokens * TopK], DType.I32), _cpu.New([Tokens * TopK], DType.I32));
    }

    [Benchmark]
    public void SelectTopK() => _cpu.SelectTopK(_scores, TopK, _mask);

    [Benchmark]
    public void SelectTopP() => _cpu.SelectTopP(_probs, new TopPRule(0.4f), _mask);

    [Benchmark]
    public void Slots()
    {
        _cpu.CountSlots(_chosen, _offsets);
        _cpu.FillSlots(_chosen, _offsets, _token, _expert);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
