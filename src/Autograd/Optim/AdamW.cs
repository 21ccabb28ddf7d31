using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Optim;

/// <summary>Settings of <see cref="AdamW"/>; the defaults are those of small language models.</summary>
public sealed record AdamWOptions
{
    public double Beta1 { get; init; } = 0.9;
    public double Beta2 { get; init; } = 0.95;
    public float Eps { get; init; } = 1e-8f;
    public float WeightDecay { get; init; } = 0.1f;

    /// <summary>Decay matrices only, not norm weights and biases (the usual recipe); false decays every parameter.</summary>
    public bool DecayMatricesOnly { get; init; } = true;
}

/// <summary>AdamW over a list of parameters: owns their first and second moments; <see cref="AdamWStep"/> has the formula.</summary>
public sealed class AdamW : IDisposable
{
    private readonly IBackend _backend;
    private readonly IReadOnlyList<Tensor> _parameters;
    private readonly AdamWOptions _options;
    private readonly Tensor[] _m, _v;

    public AdamW(IBackend backend, IReadOnlyList<Tensor> parameters, AdamWOptions options)
    {
        (_backend, _parameters, _options) = (backend, parameters, options);
        _m = [.. parameters.Select(p => backend.Zeros(p.Shape))];
        _v = [.. parameters.Select(p => backend.Zeros(p.Shape))];
    }

    /// <summary>Steps taken so far; set with the moments when a run goes on where another ended.</summary>
    public int Steps { get; set; }

    /// <summary>Running mean of each parameter's gradient, in the order of the parameters.</summary>
    public IReadOnlyList<Tensor> FirstMoments => _m;

    /// <summary>Running mean of its square.</summary>
    public IReadOnlyList<Tensor> SecondMoments => _v;

    /// <summary>Moves every parameter against its gradient.</summary>
    /// <param name="gradScale">Multiplies all gradients first, see <see cref="GradNorm.ClipScale"/>.</param>
    public void Step(float learningRate, float gradScale = 1)
    {
        Steps++;
        for (int i = 0; i < _parameters.Count; i++)
        {
            Tensor p = _parameters[i];
            float decay = _options.DecayMatricesOnly && p.Shape.Rank < 2 ? 0 : _options.WeightDecay;
            AdamWStep step = new(Steps, learningRate, _options.Beta1, _options.Beta2, _options.Eps, decay, gradScale);
            _backend.AdamW(p.Grad ?? throw new InvalidOperationException($"{p.Describe()} has no gradient"), step, p, _m[i], _v[i]);
        }
    }

    public void Dispose()
    {
        foreach (Tensor t in _m.Concat(_v))
            _backend.Free(t);
    }
}
