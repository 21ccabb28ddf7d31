using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>What mixes the tokens of a sequence.</summary>
public abstract class AttentionLayer
{
    /// <param name="x">[T, D] → [T, D]</param>
    /// <param name="cache">This layer's keys and values so far, or null to attend within the batch alone.</param>
    public abstract Tensor Forward(Tape g, Tensor x, in Batch batch, in Rotary rotary, LayerCache? cache);

    /// <summary>The kind that the model has.</summary>
    /// <param name="layer">Its index.</param>
    public static AttentionLayer Of(ModelConfig model, int layer, WeightScope w) =>
        model.Attention.Latent is null ? new Attention(model, layer, w) : new LatentAttention(model, layer, w);

    /// <summary>R columns turn, from the given one on.</summary>
    protected static RopeLayout Rope(AttentionConfig c, int headDim, int first) => new(headDim, c.RopeInterleaved, first, c.RopeDim);

    /// <summary>Queries or keys, turned by their positions.</summary>
    protected static Tensor Turn(Tape g, Tensor x, in Batch batch, in Rotary rotary, in RopeLayout layout) =>
        g.Rope(x, batch.Positions, rotary.Frequencies, layout with { Magnitude = rotary.Magnitude });

    protected static AttentionLayout Layout(ModelConfig model, int layer)
    {
        AttentionConfig c = model.Attention;
        float scale = (c.Scale > 0 ? c.Scale : 1 / MathF.Sqrt(c.HeadDim)) * (c.RopeScaling?.ScoreGrowth ?? 1);
        return new AttentionLayout(c.Heads, c.KvHeads, c.HeadDim, scale, Causal: true, model.WindowOf(layer), c.ValueDim);
    }
}
