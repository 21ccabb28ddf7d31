using BenchmarkDotNet.Attributes;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

/// <summary>The feed-forward experts of a layer and their gradients, 2 of 8 for each token: as many tokens for each expert, or one expert with all of them.</summary>
[ShortRunJob]
public class ExpertsBench : IDisposable
{
    private const int Hidden = 512, Width = 1024, Experts = 8;
    private readonly IBackend _cpu = CpuBackend.Create();
    private readonly Tensor[] _w = new Tensor[3 * Experts];
    private readonly Tensor?[] _dw = new Tensor?[3 * Experts];
    private Tensor _x = null!, _y = null!, _dx = null!, _a = null!, _b = null!, _savedA = null!, _savedB = null!, _weight = null!, _dweight = null!;
    private ExpertSlots _slots;

    [Params(1, 64, 2048)]
    public int Tokens { get; set; }

    [Params(false, true)]
    public bool Skewed { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        (_x, _y, _dx) = (Inputs.Random(_cpu, [Tokens, Hidden], 1), Inputs.Random(_cpu, [Tokens, Hidden], 2), _cpu.Zeros([Tokens, Hidden]));
        for (int i = 0; i < _w.Length; i++)
        {
            Shape shape = i < 2 * Experts ? [Width, Hidden] : [Hidden, Width];
            (_w[i], _dw[i]) = (Inputs.Random(_cpu, shape, 3 + i), _cpu.Zeros(shape));
        }
        List<int> tokens = [];
        int[] offsets = new int[Experts + 1];
        for (int e = 0; e < Experts; e++)
        {
            tokens.AddRange(Enumerable.Range(0, Tokens).Where(t => Uses(t, e)));
            offsets[e + 1] = tokens.Count;
        }
        int slots = tokens.Count;
        (_weight, _dweight) = (Inputs.Random(_cpu, [slots], 40), _cpu.Zeros([slots]));
        _slots = new ExpertSlots(_cpu.From([slots], [.. tokens]), _weight, new SlotRange(_cpu.From([Experts + 1], offsets), 0, Experts));
        (_a, _b, _savedA, _savedB) = (_cpu.New([slots, Width]), _cpu.New([slots, Width]), _cpu.New([slots, Width]), _cpu.New([slots, Width]));
        _cpu.GatedExperts<Silu>(_x, _slots, new GatedWeights<Tensor>(_w), _savedA, _savedB, _dx);
    }

    [Benchmark]
    public void Forward() => _cpu.GatedExperts<Silu>(_x, _slots, new GatedWeights<Tensor>(_w), _a, _b, _y);

    /// <summary>With copies of a and b, because the gradient uses them up.</summary>
    [Benchmark]
    public void Grad()
    {
        _cpu.Copy(_savedA, _a);
        _cpu.Copy(_savedB, _b);
        _cpu.GatedExpertsGrad<Silu>(_x, _slots, new GatedWeights<Tensor>(_w), _a, _b, _y, _dx, _dweight, new GatedWeights<Tensor?>(_dw));
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _cpu.Dispose();
        GC.SuppressFinalize(this);
    }

    private bool Uses(int token, int expert) => Skewed
        ? expert == 0 || expert == 1 + token % (Experts - 1)
        : expert == token % Experts || expert == (token + 1) % Experts;
}
