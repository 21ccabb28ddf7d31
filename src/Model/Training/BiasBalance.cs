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
    private readonly List<(int Layer, Tensor Bias, int At)> _routers = [];
    private readonly Tensor _figures;      // of each router its loads, then its biases: they cross to the host at once
    private readonly float[] _onHost;

    /// <exception cref="ArgumentException">The rate is no number above 0, or no router of the model has a selection bias.</exception>
    public BiasBalance(LanguageModel model, float rate)
    {
        if (!(rate > 0) || !float.IsFinite(rate))
            throw new ArgumentException($"the rate of bias updates is a number above 0, not {rate}");
        (_backend, _rate) = (model.Backend, rate);
        int count = 0;
        foreach ((int layer, Block block) in model.Transformer.Blocks.Index())
            if (block.FeedForward is MoeLayer { Router.SelectionBias: { } bias })
            {
                _routers.Add((layer, bias, count));
                count += 2 * (int)bias.Count;
            }
        if (count == 0)
            throw new ArgumentException("bias updates balance routers with a selection bias, and this model has none");
        _onHost = new float[count];
        _figures = _backend.Zeros([count]);
    }

    /// <summary>Forgets the loads: a step begins.</summary>
    public void Start() => _backend.Fill(_figures, 0);

    /// <summary>Adds the loads of one pass.</summary>
    /// <param name="layers">What left each block.</param>
    /// <param name="tokenMask">[T] 1 for tokens, 0 for padding, which is no load; null when all are tokens.</param>
    public void Count(IReadOnlyList<LayerOutput> layers, Tensor? tokenMask)
    {
        foreach ((int layer, Tensor bias, int at) in _routers)
            _backend.ColumnSum(layers[layer].Routing!.Value.Selected, tokenMask, _figures.View(bias.Shape, at));
    }

    /// <summary>Moves the biases; the loads so far are the step's.</summary>
    public void Step()
    {
        foreach ((_, Tensor bias, int at) in _routers)
            _backend.Copy(bias, _figures.View(bias.Shape, at + bias.Count));
        _backend.Download<float>(_figures, _onHost);
        foreach ((_, Tensor bias, int at) in _routers)
        {
            int experts = (int)bias.Count;
            Span<float> loads = _onHost.AsSpan(at, experts), b = _onHost.AsSpan(at + experts, experts);
            double sum = 0;
            foreach (float load in loads)
                sum += load;
            for (int e = 0; e < experts; e++)
                b[e] += _rate * Math.Sign(sum / experts - loads[e]);
            _backend.Upload<float>(b, bias);
        }
    }

    public void Dispose() => _backend.Free(_figures);
}
