using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Layers;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model;

/// <summary>One layer: x += attention(norm(x)); x += feedForward(norm(x)).</summary>
public sealed class Block
{
    private readonly RmsNorm _inputNorm, _postAttentionNorm;
    private readonly Attention _attention;

    public Block(ModelConfig model, FeedForwardConfig feedForward, WeightScope w)
    {
        _inputNorm = new RmsNorm(model, w["input_layernorm"], model.HiddenSize);
        _attention = new Attention(model, w["self_attn"]);
        _postAttentionNorm = new RmsNorm(model, w["post_attention_layernorm"], model.HiddenSize);
        FeedForward = feedForward switch
        {
            MoeConfig moe => new MoeLayer(model, moe, w["mlp"]),
            DenseConfig dense => new SwiGlu(model, dense, w["mlp"]),
            _ => throw new ArgumentException($"unknown feed-forward layer {feedForward.GetType().Name}"),
        };
    }

    public FeedForward FeedForward { get; }

    /// <param name="x">[T, D]</param>
    public LayerOutput Forward(Tape g, Tensor x, in Batch batch, Tensor frequencies, LayerCache? cache, in RouterContext context)
    {
        Tensor h = g.Add(x, _attention.Forward(g, _inputNorm.Forward(g, x), batch, frequencies, cache));
        (Tensor f, Routing? routing) = FeedForward.Forward(g, _postAttentionNorm.Forward(g, h), context);
        return new LayerOutput(g.Keep(g.Add(h, f)), routing);
    }
}

/// <summary>What leaves a block.</summary>
/// <param name="Hidden">[T, D] the residual stream after the layer.</param>
/// <param name="Routing">Null for a dense layer.</param>
public readonly record struct LayerOutput(Tensor Hidden, Routing? Routing);
