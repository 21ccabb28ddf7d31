using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Cli.Measuring;

/// <summary>The machine's limits, and the kernels beside them.</summary>
internal sealed class MachineFigures : IDisposable
{
    private const int N = 1024, Rows = 8192, Cols = 4096;       // a square matmul; a matrix larger than the caches
    private const int Tokens = 2048, Hidden = 1024, Experts = 8, TopK = 2, Width = 2048;
    private readonly List<IDisposable> _owned = [];

    /// <param name="backend">The cpu device.</param>
    public MachineFigures(IBackend backend, int threads)
    {
        MachineLimits limits = Own(new MachineLimits(threads));
        Tensor x = Random(backend, [N, N], 1), w = Random(backend, [N, N], 2), y = Random(backend, [N, N], 3), narrow = backend.New([N, N], DType.BF16);
        Tensor big = Random(backend, [Rows, Cols], 4), half = backend.New([Rows, Cols], DType.BF16), row = Random(backend, [1, Cols], 5), dots = backend.New([1, Rows]);
        backend.Copy(w, narrow);
        backend.Copy(big, half);
        const double Flops = 2.0 * N * N * N * 1e-9;

        Peak = new Figure("multiply-add", "GFLOP/s", () => 1e-9 * limits.MultiplyAdd());
        Read = new Figure("read memory", "GB/s", () => 1e-9 * limits.Read(big));
        Gemm = new Figure($"Linear {N}³", "GFLOP/s", () => Do(() => backend.Linear(x, w, y), Flops));
        Figure[] others =
        [
            new($"Linear {N}³, BF16 weights", "GFLOP/s", () => Do(() => backend.Linear(x, narrow, y), Flops)),
            new($"LinearGradInput {N}³", "GFLOP/s", () => Do(() => backend.LinearGradInput(y, w, x), Flops)),
            new($"LinearGradWeight {N}³", "GFLOP/s", () => Do(() => backend.LinearGradWeight(y, x, w), Flops)),
            new($"Linear 1 × {Rows} × {Cols}", "GB/s", () => Do(() => backend.Linear(row, big, dots), 1e-9 * big.Bytes)),
            new($"Linear 1 × {Rows} × {Cols}, BF16", "GB/s", () => Do(() => backend.Linear(row, half, dots), 1e-9 * half.Bytes)),
            new("forks and joins", "per µs", () => 1e-6 * limits.ForkAndJoin()),
        ];
        MoeLayer = Layer(backend);
        All = [Peak, Read, Gemm, MoeLayer, .. others];
    }

    public IReadOnlyList<Figure> All { get; }
    public Figure Peak { get; }
    public Figure Read { get; }
    public Figure Gemm { get; }

    /// <summary>2048 tokens through 8 SwiGLU experts of 2048, two each.</summary>
    public Figure MoeLayer { get; }

    public void Dispose() => _owned.ForEach(static o => o.Dispose());

    private Figure Layer(IBackend backend)
    {
        ModelConfig model = new()
        {
            VocabSize = 1,
            HiddenSize = Hidden,
            Attention = new AttentionConfig { Heads = 1, KvHeads = 1, HeadDim = 2 },
            Layers = [],
            MaxPositions = 1,
        };
        WeightStore weights = Own(new WeightStore(backend, new RandomWeights(6), trainable: false));
        MoeLayer layer = new(model, new MoeConfig(new TopKRouterConfig(TopK), [new FfnExpertsConfig(Experts, Width)]), weights.Root);
        Tape g = Own(Tape.Inference(backend));
        Tensor x = Random(backend, [Tokens, Hidden], 7);
        const double Flops = 3 * 2.0 * Tokens * TopK * Hidden * Width * 1e-9;
        return new Figure($"MoE layer, {Tokens} tokens × {Hidden}, {TopK} of {Experts} experts of {Width}", "GFLOP/s", () =>
        {
            g.Reset();
            layer.Forward(g, x, default);
            return Flops;
        });
    }

    private T Own<T>(T owned) where T : IDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    private static double Do(Action work, double amount)
    {
        work();
        return amount;
    }

    private static Tensor Random(IBackend backend, Shape shape, ulong stream)
    {
        CounterRandom random = new(1, stream);
        float[] values = new float[shape.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = random.Uniform((ulong)i) - 0.5f;
        return backend.From(shape, values);
    }
}
