using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Gpu;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Measuring;

/// <summary>What decoding costs beside its arithmetic.</summary>
/// <param name="Done">By all of the tokens.</param>
internal sealed record LaunchFigures(GpuCounts Done, int Tokens, int Layers, bool HasExperts)
{
    public double PerToken => (double)Done.Launches / Tokens;
    public double PerTokenAndLayer => Done.LaunchesPerLayer(Layers, HasExperts, Tokens);
    public int AfterLayers => GpuCounts.OutsideOfLayers(HasExperts);
    public double CrossingsPerToken => (double)Done.Downloads / Tokens;
}

/// <summary>A model's own rates: reading a prompt, writing on, and training.</summary>
internal sealed class ModelFigures : IDisposable
{
    private const int BatchSize = 8, LongestWindow = 256;
    private readonly LanguageModel _model;
    private readonly Generator _generator;
    private readonly Sampler _greedy = new(new SamplerOptions());
    private readonly int[] _prompt;
    private LanguageModel? _trainable;
    private Trainer? _trainer;

    /// <param name="folder">The model's, to load it once more for training; null not to train.</param>
    /// <param name="cacheType">See <see cref="GenerateOptions.CacheType"/>.</param>
    public ModelFigures(LanguageModel model, int promptTokens, int newTokens, string? folder, DType cacheType = DType.F32)
    {
        _model = model;
        _generator = new Generator(model.Transformer, model.Backend, promptTokens + newTokens, 1, cacheType, RoutesByTask ? [0] : []);
        CounterRandom random = new(2, 1);
        _prompt = [.. Enumerable.Range(0, promptTokens).Select(i => (int)random.Below(model.Config.VocabSize, (ulong)i))];
        Prefill = new Figure($"prefill, {promptTokens} tokens", "tokens/s", () =>
        {
            _generator.Clear();
            _generator.Feed(_prompt);
            _generator.Sample(_greedy);
            return promptTokens;
        });
        Decode = new Figure($"decode, {newTokens} tokens from {promptTokens} on", "tokens/s", () =>
        {
            GpuCounts? before = GpuDevices.Count(model.Backend);
            for (int i = 0; i < newTokens; i++)
            {
                _generator.Feed(_prompt.AsSpan(i % promptTokens, 1));
                _generator.Sample(_greedy);
            }
            if (GpuDevices.Count(model.Backend) - before is { } done)
                Launches = new LaunchFigures(done, newTokens, model.Config.Layers.Count, _generator.MoeLayers > 0);
            return newTokens;
        });
        Train = folder is null || RoutesByTask ? null : Training(folder, random);
    }

    private bool RoutesByTask => _model.Config.Layers.Any(static l => l is MoeConfig { Router: TaskRouterConfig });

    public IReadOnlyList<Figure> All => Train is null ? [Prefill, Decode] : [Prefill, Decode, Train];
    public Figure Prefill { get; }

    /// <summary>Goes on where <see cref="Prefill"/> ended: measured after it in each round.</summary>
    public Figure Decode { get; }

    public Figure? Train { get; }

    /// <summary>Those of the last <see cref="Decode"/>; null before, and on a device that nothing is launched on.</summary>
    public LaunchFigures? Launches { get; private set; }

    /// <summary>Weights that the last decoding step read, in bytes; the keys and values before it are not among them.</summary>
    public double BytesPerToken()
    {
        int[] experts = new int[_generator.MoeLayers];
        _generator.CountExperts(experts);
        double bytes = 0;
        int moe = 0;
        ILookup<int, Tensor> byLayer = _model.Weights.All.Where(static p => IsExpert(p.Name!)).ToLookup(static p => int.Parse(p.Name!.Split('.')[2], System.Globalization.CultureInfo.InvariantCulture));
        foreach ((int i, FeedForwardConfig layer) in _model.Config.Layers.Index())
            if (layer is MoeConfig config)
                bytes += byLayer[i].Sum(static p => (double)p.Bytes) * experts[moe++] / Math.Max(1, config.Banks.Where(static b => b.IsFfn).Sum(static b => b.Count));
        bytes += _model.Weights.All.Where(p => !IsExpert(p.Name!) && (_model.Config.TieWordEmbeddings || !p.Name!.Contains("embed_tokens", StringComparison.Ordinal)))
            .Sum(static p => (double)p.Bytes);
        return bytes;
    }

    public void Dispose()
    {
        _generator.Dispose();
        _trainer?.Dispose();
        _trainable?.Dispose();
    }

    private static bool IsExpert(string name) => name.Contains(".experts.", StringComparison.Ordinal);

    private Figure Training(string folder, CounterRandom random)
    {
        int context = Math.Min(LongestWindow, _model.Config.MaxPositions);
        _trainable = LanguageModel.Load(folder, _model.Backend, trainable: true);
        int[] tokens = [.. Enumerable.Range(0, 20 * (context + 1)).Select(i => (int)random.Below(_model.Config.VocabSize, (ulong)(i + 1_000_000)))];
        _trainer = new Trainer(_trainable, new TokenData(tokens, context), new TrainOptions
        {
            Steps = int.MaxValue,
            BatchSize = BatchSize,
            Context = context,
            LearningRate = new LrSchedule(LrDecay.Constant, Peak: 1e-6f, WarmupSteps: 0, TotalSteps: int.MaxValue),
            RouterLosses = _trainable.Config.RouterLosses,
        });
        return new Figure($"training, {BatchSize} × {context} tokens a step", "tokens/s", () =>
        {
            _trainer.Step();
            return BatchSize * context;
        });
    }
}
