using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;

namespace MoeFromScratch.Model;

/// <summary>What a model is made of, in our words; a family translates it from and to a checkpoint's config.json.</summary>
public sealed record ModelConfig
{
    /// <summary>V</summary>
    public required int VocabSize { get; init; }

    /// <summary>D</summary>
    public required int HiddenSize { get; init; }

    public required AttentionConfig Attention { get; init; }

    /// <summary>The feed-forward part of each layer, dense or mixture of experts; its length is the number of layers.</summary>
    public required IReadOnlyList<FeedForwardConfig> Layers { get; init; }

    /// <summary>The layers, rising, whose attention has no window although <see cref="AttentionConfig.Window"/> says so (gpt-oss: every other one).</summary>
    public IReadOnlyList<int> FullAttentionLayers { get; init; } = [];

    /// <summary>Longest context the model was made for.</summary>
    public required int MaxPositions { get; init; }

    public float RmsNormEps { get; init; } = 1e-5f;

    /// <summary>Whether the norms are LayerNorms with bias instead of RMSNorms, with the same eps.</summary>
    public bool LayerNorm { get; init; }

    /// <summary>Whether the output projection has a bias.</summary>
    public bool HeadBias { get; init; }

    /// <summary>Factor on the embeddings (Granite's scalings, as the next two).</summary>
    public float EmbeddingMultiplier { get; init; } = 1;

    /// <summary>Factor on what attention and feed-forward layers add to the residual stream.</summary>
    public float ResidualMultiplier { get; init; } = 1;

    /// <summary>What logits are divided by.</summary>
    public float LogitsScaling { get; init; } = 1;

    /// <summary>Whether the output projection is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Standard deviation of freshly drawn matrices.</summary>
    public float InitStd { get; init; } = 0.02f;

    /// <summary>The auxiliary losses the checkpoint's own config asks for.</summary>
    public IReadOnlyList<RouterLoss> RouterLosses { get; init; } = [];

    public int? BosTokenId { get; init; }
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>The window of one layer's attention, 0 for none.</summary>
    public int WindowOf(int layer) => FullAttentionLayers.Contains(layer) ? 0 : Attention.Window;

    /// <summary>Whether both are the same model, lists compared by what they hold; a loss that counts nothing is none.</summary>
    public bool Describes(ModelConfig other)
    {
        return Plain(this) == Plain(other) && Layers.SequenceEqual(other.Layers) && EosTokenIds.SequenceEqual(other.EosTokenIds)
            && Losses(this).SequenceEqual(Losses(other)) && Windows(this).SequenceEqual(Windows(other));

        static ModelConfig Plain(ModelConfig c) => c with
        {
            Layers = [],
            RouterLosses = [],
            EosTokenIds = [],
            FullAttentionLayers = [],
            Attention = c.Attention with { Window = 0 },
        };
        static IEnumerable<int> Windows(ModelConfig c) => c.Layers.Select((_, i) => c.WindowOf(i));
        static IEnumerable<RouterLoss> Losses(ModelConfig c) => c.RouterLosses.Where(static l => l.Coefficient != 0);
    }
}

/// <summary>What is normalised of queries and keys before they are turned.</summary>
public enum QkNorm
{
    None,
    /// <summary>Each head by itself, all with the same weights [K] (Qwen3).</summary>
    PerHead,
    /// <summary>The whole projection [H·K] (OLMoE).</summary>
    Whole,
}

/// <summary>Grouped-query attention with rotary positions, or latent attention where <see cref="Latent"/> is set.</summary>
public sealed record AttentionConfig
{
    /// <summary>H</summary>
    public required int Heads { get; init; }

    /// <summary>Hkv, divides H; H where attention is latent.</summary>
    public required int KvHeads { get; init; }

    /// <summary>K</summary>
    public required int HeadDim { get; init; }

    /// <summary>R, even: so many columns of a head turn with the position, the first of them, or the last where attention is latent; 0 for all.</summary>
    public int RotaryDim { get; init; }

    /// <summary>Whether neighbouring columns turn together, instead of those half of R apart.</summary>
    public bool RopeInterleaved { get; init; }

    /// <summary>Null for keys and values of their own.</summary>
    public LatentAttentionConfig? Latent { get; init; }

    /// <summary>Base of the rotary frequencies: θ^(−2i/R).</summary>
    public float RopeTheta { get; init; } = 10_000;

    /// <summary>With a value above 0, a token sees only the last so many; <see cref="ModelConfig.FullAttentionLayers"/> are excepted.</summary>
    public int Window { get; init; }

    /// <summary>Whether the query, key and value projections have biases; of latent ones, those that read the hidden state and shrink it.</summary>
    public bool QkvBias { get; init; }

    /// <summary>Whether the output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    public QkNorm QkNorm { get; init; }

    /// <summary>With a value above 0, queries, keys and values are cut off at ± it, after their norm.</summary>
    public float ClipQkv { get; init; }

    /// <summary>Whether padding in a sequence's first place is seen all the same (OpenMoE's code); of no effect without padding.</summary>
    public bool SeesFirst { get; init; }

    /// <summary>Factor on the scores; 0 for the usual 1/√K.</summary>
    public float Scale { get; init; }

    /// <summary>Whether each head has a learned logit that is in the denominator of its softmax and nowhere else (gpt-oss).</summary>
    public bool Sinks { get; init; }

    /// <summary>Null for the frequencies as they are.</summary>
    public RopeScaling? RopeScaling { get; init; }

    /// <summary>R</summary>
    public int RopeDim => RotaryDim == 0 ? HeadDim : RotaryDim;

    /// <summary>Size of a head's values.</summary>
    public int ValueDim => Latent?.ValueDim ?? HeadDim;

    /// <summary>θ^(−2i/R) for each pair i, rounded to F32 at each step as references compute it, and stretched.</summary>
    /// <param name="scaling">One of the forms of <see cref="RopeScaling"/>.</param>
    public float[] RopeFrequencies(RopeScaling? scaling)
    {
        float[] frequencies = new float[RopeDim / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            float frequency = 1f / MathF.Pow(RopeTheta, 2f * i / RopeDim);
            frequencies[i] = scaling?.Stretch(frequency, i, RopeDim, RopeTheta) ?? frequency;
        }
        return frequencies;
    }
}

/// <summary>Multi-head latent attention: what keys and values are unpacked from.</summary>
/// <param name="KvRank">Numbers per token that they come out of, beside the rotary key.</param>
/// <param name="ValueDim">V</param>
/// <param name="QueryRank">Numbers per token that queries come out of; 0 for the hidden state itself.</param>
public sealed record LatentAttentionConfig(int KvRank, int ValueDim, int QueryRank = 0);

/// <summary>One layer's feed-forward part.</summary>
public abstract record FeedForwardConfig;

/// <summary>One SwiGLU for all tokens.</summary>
/// <param name="IntermediateSize">F</param>
/// <param name="Bias">Whether its three matrices have biases.</param>
public sealed record DenseConfig(int IntermediateSize, bool Bias = false) : FeedForwardConfig
{
    /// <summary>Whether its gate is twice as wide, [2F, D], and half of it a factor without silu, see <see cref="Layers.TwiceGated"/>.</summary>
    public bool TwiceGated { get; init; }
}

/// <summary>A router and the experts it chooses from; the banks' order is the order of the router's rows.</summary>
public sealed record MoeConfig(RouterConfig Router, IReadOnlyList<ExpertBankConfig> Banks) : FeedForwardConfig
{
    /// <summary>E, over all banks.</summary>
    public int NumExperts => Banks.Sum(static b => b.Count);

    /// <summary>What the experts see is so many times what the router sees.</summary>
    public float InputScale { get; init; } = 1;

    /// <summary>A dense layer after the mixture, with a norm and a residual connection of its own (OpenMoE); null for none.</summary>
    public DenseConfig? Then { get; init; }

    /// <summary>[E] one value for each of the router's columns.</summary>
    public float[] Columns(Func<ExpertBankConfig, float> value) => [.. Banks.SelectMany(b => Enumerable.Repeat(value(b), b.Count))];

    public bool Equals(MoeConfig? other) => other is not null && Router == other.Router && InputScale == other.InputScale && Then == other.Then
        && Banks.SequenceEqual(other.Banks);

    public override int GetHashCode() => HashCode.Combine(Router, Banks.Count);
}
