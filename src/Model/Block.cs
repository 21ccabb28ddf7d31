using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Layers;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model;

/// <summary>One layer: x += attention(norm(x)); x += feedForward(norm(x)); and a second feed-forward part where the first says so.</summary>
public sealed class Block
{
    private readonly Norm _inputNorm, _postAttentionNorm;
    private readonly AttentionLayer _attention;
    private readonly float _residualMultiplier;
    private readonly (Norm Norm, FeedForward Layer)? _then;

    /// <param name="layer">Its index.</param>
    public Block(ModelConfig model, int layer, WeightScope w)
    {
        _inputNorm = Norm.Of(model, w["input_layernorm"], model.HiddenSize);
        _attention = AttentionLayer.Of(model, layer, w["self_attn"]);
        _postAttentionNorm = Norm.Of(model, w["post_attention_layernorm"], model.HiddenSize);
        _residualMultiplier = model.ResidualMultiplier;
        FeedForward = model.Layers[layer] switch
        {
            MoeConfig moe => new MoeLayer(model, moe, w["mlp"]),
            DenseConfig dense => FeedForward.Dense(model, dense, w["mlp"]),
            FeedForwardConfig other => throw new ArgumentException($"unknown feed-forward layer {other.GetType().Name}"),
        };
        if (model.Layers[layer] is MoeConfig { Then: { } then })
            _then = (Norm.Of(model, w["pre_extra_mlp_layernorm"], model.HiddenSize), FeedForward.Dense(model, then, w["extra_mlp"]));
    }

    public FeedForward FeedForward { get; }

    /// <param name="x">[T, D]</param>
    public LayerOutput Forward(Tape g, Tensor x, in Batch batch, in Rotary rotary, LayerCache? cache, in RouterContext context)
    {
        Tensor h = Add(g, x, _attention.Forward(g, _inputNorm.Forward(g, x), batch, rotary, cache));
        (Tensor f, Routing? routing) = FeedForward.Forward(g, _postAttentionNorm.Forward(g, h), context);
        h = Add(g, h, f);
        if (_then is var (norm, layer))
            h = Add(g, h, layer.Forward(g, norm.Forward(g, h), context).y);
        return new LayerOutput(g.Keep(h), routing);
    }

    private Tensor Add(Tape g, Tensor residual, Tensor y) => g.Add(residual, _residualMultiplier == 1 ? y : g.Scale(y, _residualMultiplier));
}

/// <summary>What leaves a block.</summary>
/// <param name="Hidden">[T, D] the residual stream after the layer.</param>
/// <param name="Routing">Null for a dense layer.</param>
public readonly record struct LayerOutput(Tensor Hidden, Routing? Routing);
