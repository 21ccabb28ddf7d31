using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>Causal grouped-query attention with rotary positions: y = o(attention(rope(q x), rope(k x), v x)).</summary>
public sealed class Attention
{
    private readonly Tensor _q, _k, _v, _o;
    private readonly RopeLayout _rope;
    private readonly AttentionLayout _layout;

    public Attention(ModelConfig model, WeightScope w)
    {
        AttentionConfig c = model.Attention;
        int queries = c.Heads * c.HeadDim, keys = c.KvHeads * c.HeadDim;
        _q = w["q_proj"].Get("weight", [queries, model.HiddenSize], Init.Normal(model.InitStd));
        _k = w["k_proj"].Get("weight", [keys, model.HiddenSize], Init.Normal(model.InitStd));
        _v = w["v_proj"].Get("weight", [keys, model.HiddenSize], Init.Normal(model.InitStd));
        _o = w["o_proj"].Get("weight", [model.HiddenSize, queries], Init.Normal(model.InitStd));
        _rope = new RopeLayout(c.HeadDim);
        _layout = new AttentionLayout(c.Heads, c.KvHeads, c.HeadDim, 1 / MathF.Sqrt(c.HeadDim), Causal: true, c.Window);
    }

    /// <param name="x">[T, D]</param>
    /// <param name="frequencies">[K/2] of the rotary embedding.</param>
    /// <param name="cache">This layer's keys and values so far, or null to attend within the batch alone.</param>
    public Tensor Forward(Tape g, Tensor x, in Batch batch, Tensor frequencies, LayerCache? cache)
    {
        Tensor q = g.Rope(g.Linear(x, _q), batch.Positions, frequencies, _rope);      // [T, H·K]
        Tensor k = g.Rope(g.Linear(x, _k), batch.Positions, frequencies, _rope);      // [T, Hkv·K]
        Tensor v = g.Linear(x, _v);                                                   // [T, Hkv·K]
        if (cache is not null)
            (k, v) = cache.Append(g, k, v, batch);                                    // [C, Hkv·K]
        return g.Linear(g.Attention(q, k, v, batch.Sequences, batch.Visible, _layout), _o);
    }
}
