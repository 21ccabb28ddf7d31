using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe.Routers;

/// <summary>
/// The k likeliest experts with their probabilities as they are, as far as these have room (Switch, Fedus et al., 2021, arXiv
/// 2101.03961, with k = 1; with k = 2 GShard's descendants, such as OpenMoE).
/// </summary>
/// <param name="TopK">k</param>
public sealed record SwitchRouterConfig(int TopK = 1) : RouterConfig
{
    /// <summary>The experts' room; null drops nothing.</summary>
    public CapacityConfig? Capacity { get; init; }

    /// <summary>Whether a token whose expert has no room for it gets its own input in place of the expert's output, as transformers' Switch does; else nothing.</summary>
    public bool PassDropped { get; init; }

    /// <summary>In training, the router sees its input times a random factor from 1 − this to 1 + this.</summary>
    public float InputJitter { get; init; }

    /// <summary>In training, the logits are multiplied by such a factor.</summary>
    public float LogitJitter { get; init; }

    /// <summary>In training, normal noise of this standard deviation is added to the logits.</summary>
    public float LogitNoise { get; init; }

    /// <exception cref="ArgumentException">k is not between 1 and E, or a noise is negative or no number.</exception>
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w)
    {
        RequireTopK(TopK, moe);
        if (!(InputJitter >= 0) || !(LogitJitter >= 0) || !(LogitNoise >= 0))
            throw new ArgumentException($"jitters and noise must be at least 0, not {InputJitter}, {LogitJitter} and {LogitNoise}");
        return new SwitchRouter(this, moe, new Gate(model, moe, w));
    }

    public override int MaxExperts(int numExperts) => TopK;
    public override bool IsAcrossTokens => Capacity is not null;
    public override bool DroppedKeepWeight => true;
}

public sealed class SwitchRouter(SwitchRouterConfig config, MoeConfig moe, Gate gate) : Router
{
    private const int InputSite = 4, JitterSite = 5, NoiseSite = 6;

    private readonly Capacity? _capacity = config.Capacity is null ? null : new Capacity(config.Capacity, moe);

    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = gate.Logits(g, Jittered(g, x, config.InputJitter, context, InputSite), context);            // [T, E]
        logits = Jittered(g, logits, config.LogitJitter, context, JitterSite);
        if (config.LogitNoise > 0 && Draws(g, logits.Shape, context, NoiseSite) is { } draws)
            logits = g.Add(logits, g.Scale(draws, config.LogitNoise));
        Tensor probs = g.Softmax(logits);                                                                           // [T, E]
        Tensor selected = g.New(probs.Shape);                                                                       // [T, E]
        g.Backend.SelectTopK(probs, config.TopK, selected);
        g.PublishConstant(selected);
        if (_capacity is null)
            return Routing.Plan(g, logits, probs, selected, g.Mul(probs, selected), config.TopK);
        Tensor kept = _capacity.Keep(g, selected, probs, context, config.TopK, out int places);                     // [T, E]
        SwitchDetail? detail = !config.PassDropped ? null
            : new SwitchDetail(g.Keep(g.RowSum(g.Mul(probs, g.Add(selected, g.Scale(kept, -1))))));
        return Routing.Plan(g, logits, probs, selected, g.Mul(probs, kept), config.TopK, kept, detail, places);
    }

    private sealed record SwitchDetail(Tensor Share) : RouterDetail
    {
        public override Tensor? PassedOn => Share;
    }
}
