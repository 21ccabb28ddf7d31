using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>Causal grouped-query attention with rotary positions: y = o(attention(rope(norm(q x)), rope(norm(k x)), v x)).</summary>
public sealed class Attention : AttentionLayer
{
    private readonly AttentionConfig _config;
    private readonly Projection _q, _k, _v, _o;
    private readonly RmsNorm? _qNorm, _kNorm;
    private readonly Tensor? _sinks;
    private readonly RopeLayout _rope;
    private readonly AttentionLayout _layout;

    /// <param name="layer">Its index: not all layers have the window.</param>
    public Attention(ModelConfig model, int layer, WeightScope w)
    {
        AttentionConfig c = _config = model.Attention;
        int queries = c.Heads * c.HeadDim, keys = c.KvHeads * c.HeadDim;
        _q = new Projection(model, w["q_proj"], queries, model.HiddenSize, c.QkvBias);
        _k = new Projection(model, w["k_proj"], keys, model.HiddenSize, c.QkvBias);
        _v = new Projection(model, w["v_proj"], keys, model.HiddenSize, c.QkvBias);
        _o = new Projection(model, w["o_proj"], model.HiddenSize, queries, c.OutputBias);
        if (c.QkNorm != QkNorm.None)
        {
            bool whole = c.QkNorm == QkNorm.Whole;
            _qNorm = new RmsNorm(model, w["q_norm"], whole ? queries : c.HeadDim);
            _kNorm = new RmsNorm(model, w["k_norm"], whole ? keys : c.HeadDim);
        }
        if (c.Sinks)
            _sinks = w.GetF32("sinks", [c.Heads], Init.Normal(model.InitStd));
        _rope = Rope(c, c.HeadDim, first: 0);
        _layout = Layout(model, layer);
    }

    public override Tensor Forward(Tape g, Tensor x, in Batch batch, in Rotary rotary, LayerCache? cache)
    {
        Tensor q = Turn(g, Project(g, x, _q, _qNorm), batch, rotary, _rope);               // [T, H·K]
        Tensor k = Turn(g, Project(g, x, _k, _kNorm), batch, rotary, _rope);               // [T, Hkv·K]
        Tensor v = Project(g, x, _v, null);                                                     // [T, Hkv·K]
        if (cache is not null)
            (k, v) = cache.Append(g, k, v, batch);                                              // [C, Hkv·K]
        return _o.Forward(g, g.Attention(q, k, v, batch.Sequences, batch.Visible, _layout, _sinks));
    }

    /// <summary>Projected, normalised, cut off: what of the three the model has.</summary>
    private Tensor Project(Tape g, Tensor x, Projection projection, RmsNorm? norm)
    {
        Tensor y = projection.Forward(g, x);
        if (norm is not null)
            y = norm.Forward(g, y);
        return _config.ClipQkv > 0 ? g.Scale(g.Unary<Clip>(g.Scale(y, 1 / _config.ClipQkv)), _config.ClipQkv) : y;
    }
}
