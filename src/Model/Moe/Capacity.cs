using MoeFromScratch.Autograd;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>Which tokens an expert keeps that has been chosen by too many.</summary>
public enum DropPolicy
{
    /// <summary>Those with the highest logits.</summary>
    Probs,
    /// <summary>The first ones of the batch.</summary>
    Position,
}

/// <summary>
/// The room of each expert in a pass of T tokens, those over it are dropped: max(⌈γ · η_e · T / Σ η⌉, min), η = τ for feed-forward
/// experts and 1 for zero-computation ones, the sum over all experts that the router chooses from. With τ = 1 that is
/// GShard's γ T / E; below, it is MoE++'s heterogeneous capacity. Shared experts have room for all.
/// </summary>
/// <param name="Factor">γ</param>
/// <param name="Min">An expert's least room.</param>
/// <param name="Tau">τ</param>
public sealed record CapacityConfig(float Factor, int Min = 0, DropPolicy Policy = DropPolicy.Probs, float Tau = 1)
{
    /// <summary>Give shared experts no more room than the others: Uni-MoE 2's released code does so under <see cref="DropPolicy.Position"/>.</summary>
    public bool LimitsShared { get; init; }
}

/// <summary>Applies a <see cref="CapacityConfig"/> to the experts of one layer.</summary>
public sealed class Capacity
{
    private readonly CapacityConfig _config;
    private readonly float[] _share;
    private readonly double _sum;
    private readonly int[] _room;

    /// <exception cref="ArgumentException">γ or τ is not a positive number, or the least room is negative.</exception>
    public Capacity(CapacityConfig config, MoeConfig moe)
    {
        if (!(config.Factor > 0) || !(config.Tau > 0) || config.Min < 0)
            throw new ArgumentException($"a capacity's factor and tau are above 0 and its minimum is not below, unlike {config}");
        _config = config;
        _share = moe.Columns(b => b.IsShared ? float.PositiveInfinity : b.IsFfn ? config.Tau : 1);
        _sum = _share.Where(float.IsFinite).Sum(static s => (double)s);
        _room = new int[_share.Length];
    }

    /// <summary>What is left of a selection.   selected, logits [T, E] → kept [T, E]</summary>
    public Tensor Keep(Tape g, Tensor selected, Tensor logits)
    {
        for (int e = 0; e < _room.Length; e++)
            _room[e] = Room(selected.Rows, _share[e]);
        Tensor kept = g.New(selected.Shape);
        g.Backend.SelectTokens(selected, _config.Policy == DropPolicy.Probs ? logits : null, _room, kept);
        return g.PublishConstant(kept);
    }

    private int Room(int tokens, float share)
    {
        if (float.IsInfinity(share) && !_config.LimitsShared)
            return tokens;
        double fair = tokens * (float.IsInfinity(share) ? 1 : share) / _sum;
        float room = MathF.Ceiling((float)fair * _config.Factor);   // F32, as references round it
        return (int)Math.Min(Math.Max(room, _config.Min), tokens);
    }
}
