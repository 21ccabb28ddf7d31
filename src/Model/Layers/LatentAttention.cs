using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>
/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads come out of one short vector per token,
/// c = norm(kv_a x), and one rotary key serves all heads. A head's query and key are [N columns that do not turn, R that do]:
/// q = q_b norm(q_a x), or q_proj x; (k_N, v) = kv_b c; k_R = rope of the last R columns of kv_a x. Values have a width of their own.
/// </summary>
public sealed class LatentAttention : AttentionLayer
{
    /// <summary>Of the norms inside, whatever the model's own is.</summary>
    private const float Eps = 1e-6f;

    private readonly Projection? _q, _qA, _qB;
    private readonly Projection _kvA, _kvB, _o;
    private readonly RmsNorm? _qNorm;
    private readonly RmsNorm _kvNorm;
    private readonly RopeLayout _queryRope, _keyRope;
    private readonly AttentionLayout _layout;
    private readonly LatentAttentionConfig _latent;
    private readonly int _fixed, _turned;   // N, R

    /// <param name="layer">Its index.</param>
    public LatentAttention(ModelConfig model, int layer, WeightScope w)
    {
        AttentionConfig c = model.Attention;
        _latent = c.Latent ?? throw new ArgumentException("latent attention has ranks");
        (_turned, _fixed) = (c.RopeDim, c.HeadDim - c.RopeDim);
        int queries = c.Heads * c.HeadDim;
        if (_latent.QueryRank == 0)
            _q = new Projection(model, w["q_proj"], queries, model.HiddenSize, bias: false);
        else
        {
            _qA = new Projection(model, w["q_a_proj"], _latent.QueryRank, model.HiddenSize, c.QkvBias);
            _qNorm = new RmsNorm(model, w["q_a_layernorm"], _latent.QueryRank, Eps);
            _qB = new Projection(model, w["q_b_proj"], queries, _latent.QueryRank, bias: false);
        }
        _kvA = new Projection(model, w["kv_a_proj_with_mqa"], _latent.KvRank + _turned, model.HiddenSize, c.QkvBias);
        _kvNorm = new RmsNorm(model, w["kv_a_layernorm"], _latent.KvRank, Eps);
        _kvB = new Projection(model, w["kv_b_proj"], c.Heads * (_fixed + _latent.ValueDim), _latent.KvRank, bias: false);
        _o = new Projection(model, w["o_proj"], model.HiddenSize, c.Heads * _latent.ValueDim, c.OutputBias);
        _queryRope = Rope(c, c.HeadDim, first: _fixed);
        _keyRope = Rope(c, _turned, first: 0);
        _layout = Layout(model, layer);
    }

    /// <remarks>
    /// The cache holds keys and values as the heads read them, H·(K + V) numbers per token. The latent vector and the rotary key
    /// would do, KvRank + R numbers (DeepSeek-V3: 576 instead of 40,960), at the price of kv_b for every cached token in every step,
    /// or of folding kv_b into the queries and the output.
    /// </remarks>
    public override Tensor Forward(Tape g, Tensor x, in Batch batch, in Rotary rotary, LayerCache? cache)
    {
        int heads = _layout.Heads, rank = _latent.KvRank, values = _latent.ValueDim;
        HeadColumns stored = new(1, rank + _turned), unpacked = new(heads, _fixed + values), keys = new(heads, _fixed + _turned);

        Tensor q = _q?.Forward(g, x) ?? _qB!.Forward(g, _qNorm!.Forward(g, _qA!.Forward(g, x)));
        q = Turn(g, q, batch, rotary, _queryRope);                                                          // [T, H·(N + R)]
        Tensor kv = _kvA.Forward(g, x);                                                                     // [T, KvRank + R]
        Tensor latent = _kvNorm.Forward(g, g.Columns(kv, stored, new(1, rank), rank));                      // [T, KvRank]
        Tensor turning = g.Columns(kv, stored with { First = rank }, new(1, _turned), _turned);             // [T, R]
        turning = Turn(g, turning, batch, rotary, _keyRope);
        Tensor both = _kvB.Forward(g, latent);                                                              // [T, H·(N + V)]
        Tensor k = g.Columns(both, unpacked, keys, _fixed);                                                 // [T, H·(N + R)]
        k = g.Columns(turning, new(1, _turned), keys with { First = _fixed }, _turned, onto: k);
        Tensor v = g.Columns(both, unpacked with { First = _fixed }, new(heads, values), values);           // [T, H·V]
        if (cache is not null)
            (k, v) = cache.Append(g, k, v, batch);
        return _o.Forward(g, g.Attention(q, k, v, batch.Sequences, batch.Visible, _layout));
    }
}
