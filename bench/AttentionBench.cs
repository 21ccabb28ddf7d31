using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>One layer's attention, 16 heads of 64 that share 8 of keys: a prompt as long as the context, and one more token after it.</summary>
[ShortRunJob]
public class AttentionBench : IDisposable
{
    private const int Heads = 16, KvHeads = 8, HeadDim = 64;
    private readonly IBackend _cpu = CpuBackend.Create();
    private Tensor _q = null!, _one = null!, _k = null!, _v = null!, _prompt = null!, _last = null!, _y = null!, _lse = null!, _yOne = null!, _lseOne = null!;

    [Params(128, 1024, 8192)]
    public int Context { get; set; }

    private static AttentionLayout Layout => new(Heads, KvHeads, HeadDim, 0.125f);

    [GlobalSetup]
    public void Setup()
    {
        (_q, _one) = (Inputs.Random(_cpu, [Context, Heads * HeadDim], 1), Inputs.Random(_cpu, [1, Heads * HeadDim], 2));
        (_k, _v) = (Inputs.Random(_cpu, [Context, KvHeads * HeadDim], 3), Inputs.Random(_cpu, [Context, KvHeads * HeadDim], 4));
        _prompt = _cpu.From([1, 4], [0, Context, 0, Context]);
        _last = _cpu.From([1, 4], [0, 1, 0, Context]);
        (_y, _lse) = (_cpu.New([Context, Heads * HeadDim]), _cpu.New([Context, Heads]));
        (_yOne, _lseOne) = (_cpu.New([1, Heads * HeadDim]), _cpu.New([1, Heads]));
    }

    [Benchmark]
    public void Prefill() => _cpu.Attention(_q, _k, _v, _prompt, null, null, Layout, _y, _lse);

    [Benchmark]
    public void Decode() => _cpu.Attention(_one, _k, _v, _last, null, null, Layout, _yOne, _lseOne);

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }
}
