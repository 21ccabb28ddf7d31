using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>How a router's logits come about.</summary>
public sealed record GateConfig
{
    /// <summary>With a value above 0, two matrices with tanh between them, the inner width this (MoE++'s is 8 E); else one.</summary>
    public int HiddenSize { get; init; }

    /// <summary>Whether a bias is added to the logits (gpt-oss).</summary>
    public bool Bias { get; init; }

    /// <summary>Whether the logits of the mixture layer before are mapped and added: MoE++'s gating residual.</summary>
    public bool Residual { get; init; }
}

/// <summary>
/// Logits = W x, or W₂ tanh(W₁ x), plus b with a bias, plus W_g · (the logits of the mixture layer before) with a gating residual:
/// what a layer hands on contains what it was handed (MoE++, Jin et al., 2024). Weights <c>gate.weight</c> [E, D], or
/// <c>gate.0.weight</c> and <c>gate.2.weight</c>, the bias [E] beside the last; <c>gate_map.weight</c> [E, E], which the first
/// layer has and does not use.
/// </summary>
public sealed class Gate
{
    private readonly Tensor? _inner, _bias, _residual;
    private readonly Tensor _outer;

    public Gate(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        GateConfig config = moe.Router.Gate;
        Init init = Init.Normal(model.InitStd);
        int experts = moe.NumExperts, inputs = model.HiddenSize;
        WeightScope gate = w["gate"];
        if (config.HiddenSize > 0)
        {
            _inner = gate[0].GetF32("weight", [config.HiddenSize, inputs], init);
            (gate, inputs) = (gate[2], config.HiddenSize);
        }
        _outer = gate.GetF32("weight", [experts, inputs], init);
        if (config.Bias)
            _bias = gate.GetF32("bias", [experts], Init.Zeros);
        if (config.Residual)
            _residual = w["gate_map"].GetF32("weight", [experts, experts], init);
    }

    /// <param name="x">[T, D] → [T, E]</param>
    public Tensor Logits(Tape g, Tensor x, in RouterContext context)
    {
        Tensor h = _inner is null ? x : g.Unary<Tanh>(g.Linear(x, _inner));
        Tensor logits = g.Linear(h, _outer, _bias);
        return _residual is not null && context.PreviousLogits is { } previous ? g.Add(logits, g.Linear(previous, _residual)) : logits;
    }
}
