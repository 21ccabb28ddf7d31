using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Layers;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model;

/// <summary>A decoder-only language model: embedding → blocks → norm → logits. All families are this one, by configuration.</summary>
public sealed class Transformer : IDisposable
{
    private readonly IBackend _backend;
    private readonly Tensor _embedding, _head;
    private readonly (RopeScaling? Scaling, Rotary Rotary)[] _rotaries;
    private readonly Tensor? _headBias;
    private readonly Block[] _blocks;
    private readonly Norm _norm;

    public Transformer(ModelConfig config, WeightStore weights)
    {
        Config = config;
        _backend = weights.Backend;
        WeightScope w = weights.Root["model"];
        _embedding = w["embed_tokens"].Get("weight", [config.VocabSize, config.HiddenSize], Init.Normal(config.InitStd));
        _blocks = [.. config.Layers.Select((_, i) => new Block(config, i, w["layers"][i]))];
        _norm = Norm.Of(config, w["norm"], config.HiddenSize);
        _head = config.TieWordEmbeddings
            ? _embedding
            : weights.Root["lm_head"].Get("weight", [config.VocabSize, config.HiddenSize], Init.Normal(config.InitStd));
        _headBias = config.HeadBias ? weights.Root["lm_head"].GetF32("bias", [config.VocabSize], Init.Zeros) : null;
        IReadOnlyList<RopeScaling?> forms = config.Attention.RopeScaling?.Forms() ?? (IReadOnlyList<RopeScaling?>)[null];
        _rotaries = new (RopeScaling?, Rotary)[forms.Count];
        for (int i = 0; i < forms.Count; i++)
            _rotaries[i] = (forms[i], new Rotary(_backend.From([config.Attention.RopeDim / 2], config.Attention.RopeFrequencies(forms[i])), forms[i]?.Magnitude ?? 1));
    }

    public ModelConfig Config { get; }

    public IReadOnlyList<Block> Blocks => _blocks;

    /// <summary>Logits for the batch's tokens, or for <see cref="Batch.LogitRows"/> alone.</summary>
    /// <param name="layers">Cleared and filled with what left each block; passed in so that a decode loop reuses it.</param>
    /// <param name="noise">See <see cref="RouterContext.Noise"/>.</param>
    /// <param name="estimateChoice">See <see cref="RouterContext.EstimateChoice"/>.</param>
    public ForwardResult Forward(Tape g, in Batch batch, List<LayerOutput> layers, KvCache? cache = null, (ulong, long)? noise = null,
        bool estimateChoice = false)
    {
        layers.Clear();
        Tensor x = Times(g, g.GatherRows(_embedding, batch.Tokens), Config.EmbeddingMultiplier);   // [T, D]
        Rotary rotary = RotaryIn(batch.Context);
        Tensor? previousLogits = null;
        for (int i = 0; i < _blocks.Length; i++)
        {
            RouterContext context = new() { Layer = i, PreviousLogits = previousLogits, TokenMask = batch.TokenMask, Sequences = batch.SequenceTable, Task = batch.Tasks, Noise = noise, EstimateChoice = estimateChoice };
            LayerOutput y = g.Block((block: _blocks[i], x, batch, rotary, cache: cache?[i], context),
                static (g, s) => s.block.Forward(g, s.x, s.batch, s.rotary, s.cache, s.context));
            layers.Add(y);
            g.FreeEarly(x);
            x = y.Hidden;
            previousLogits = y.Routing?.Logits ?? previousLogits;
        }
        if (batch.LogitRows is { } rows)
            x = g.GatherRows(x, rows);
        Tensor final = _norm.Forward(g, x);
        return new ForwardResult(Times(g, g.Linear(final, _head, _headBias), 1 / Config.LogitsScaling), final);   // [T, V]
    }

    private static Tensor Times(Tape g, Tensor x, float factor) => factor == 1 ? x : g.Scale(x, factor);

    private Rotary RotaryIn(int context)
    {
        RopeScaling? scaling = Config.Attention.RopeScaling?.In(context);
        foreach ((RopeScaling? form, Rotary rotary) in _rotaries)
            if (ReferenceEquals(form, scaling))
                return rotary;
        throw new InvalidOperationException($"{scaling} is none of the forms that it was said to have");
    }

    public void Dispose()
    {
        foreach ((_, Rotary rotary) in _rotaries)
            _backend.Free(rotary.Frequencies);
    }
}

/// <param name="Logits">[T, V]</param>
/// <param name="FinalNorm">[T, D] what the output projection reads.</param>
public readonly record struct ForwardResult(Tensor Logits, Tensor FinalNorm);
