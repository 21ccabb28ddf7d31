using MoeFromScratch.Model.Moe;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training;

/// <summary>
/// Balance without a loss (Wang et al., 2024, arXiv 2408.15664): after each step the selection bias of every expert moves by
/// rate · sign(mean load − load), its load the number of the step's tokens that chose it, before any capacity.
/// </summary>
public sealed class BiasBalance : IDisposable
{
    private readonly IBackend _backend;
    private readonly float _rate;
    private readonly (int Layer, Tensor Bias, Tensor Load)[] _routers;

    /// <exception cref="ArgumentException">The rate is no number above 0, or no router of the model has a selection bias.</exception>
    public BiasBalance(LanguageModel model, float rate)
    {
        if (!(rate > 0) || !float.IsFinite(rate))
            throw new ArgumentException($"the rate of bias updates is a number above 0, not {rate}");
        (_backend, _rate) = (model.Backend, rate);
        _routers = [.. model.Transformer.Blocks.Index()
            .Select(static b => (b.Index, (b.Item.FeedForward as MoeLayer)?.Router.SelectionBias))
            .Where(static b => b.SelectionBias is not null)
            .Select(b => (b.Index, b.SelectionBias!, _backend.Zeros(b.SelectionBias!.Shape)))];
        if (_routers.Length == 0)
            throw new ArgumentException("bias updates balance routers with a selection bias, and this model has none");
    }

    /// <summary>Forgets the loads: a step begins.</summary>
    public void Start()
    {
        foreach ((_, _, Tensor load) in _routers)
            _backend.Fill(load, 0);
    }

    /// <summary>Adds the loads of one pass.</summary>
    /// <param name="layers">What left each block.</param>
    /// <param name="tokenMask">[T] 1 for tokens, 0 for padding, which is no load; null when all are tokens.</param>
    public void Count(IReadOnlyList<LayerOutput> layers, Tensor? tokenMask)
    {
        foreach ((int layer, _, Tensor load) in _routers)
            _backend.ColumnSum(layers[layer].Routing!.Value.Selected, tokenMask, load);
    }

    /// <summary>Moves the biases; the loads so far are the step's.</summary>
    public void Step()
    {
        foreach ((_, Tensor bias, Tensor load) in _routers)
        {
            float[] b = _backend.ToFloats(bias), loads = _backend.ToFloats(load);
            double mean = loads.Sum(static l => (double)l) / loads.Length;
            for (int e = 0; e < b.Length; e++)
                b[e] += _rate * Math.Sign(mean - loads[e]);
            _backend.Upload<float>(b, bias);
        }
    }

    public void Dispose()
    {
        foreach ((_, _, Tensor load) in _routers)
            _backend.Free(load);
    }
}
