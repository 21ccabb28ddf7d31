using System.Globalization;
using MoeFromScratch.Autograd;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>Which tokens an expert keeps that has been chosen by too many.</summary>
public enum DropPolicy
{
    /// <summary>Those with the highest logits, or probabilities where the router chooses by those.</summary>
    Probs,
    /// <summary>The first ones.</summary>
    Position,
    /// <summary>Those whose first choice it is, then those whose second, the first ones of each (GShard).</summary>
    Choice,
}

/// <summary>What becomes of a room that is no whole number.</summary>
public enum RoomRounding
{
    Up,
    /// <summary>Down, and then up to an even number: OpenMoE's released code.</summary>
    DownThenEven,
}

/// <summary>
/// The room of each expert in a pass of T tokens, those over it are dropped: max(⌈γ · η_e · T / Σ η⌉, min), η = τ for feed-forward
/// experts and 1 for zero-computation ones, the sum over all experts that the router chooses from. With τ = 1 that is
/// GShard's γ T / E; below, it is MoE++'s heterogeneous capacity. Shared experts have room for all.
/// </summary>
/// <remarks>
/// A pass is what is computed together: text that is generated with a key-value cache has, after its prompt, passes of one
/// token per sequence, and drops other tokens than a pass over the whole text would.
/// </remarks>
/// <param name="Factor">γ; 0 for the same room, the minimum, whatever T is.</param>
/// <param name="Min">An expert's least room.</param>
/// <param name="Tau">τ</param>
public sealed record CapacityConfig(float Factor, int Min = 0, DropPolicy Policy = DropPolicy.Probs, float Tau = 1)
{
    /// <summary>Give shared experts no more room than the others: Uni-MoE 2's released code does so under <see cref="DropPolicy.Position"/>.</summary>
    public bool LimitsShared { get; init; }

    /// <summary>γ outside training; null for the same.</summary>
    public float? EvaluationFactor { get; init; }

    /// <summary>Whether each sequence has a room of its own, by its own T, instead of all together (Switch).</summary>
    public bool PerSequence { get; init; }

    public RoomRounding Rounding { get; init; }
}

/// <summary>Applies a <see cref="CapacityConfig"/> to the experts of one layer.</summary>
public sealed class Capacity
{
    private readonly CapacityConfig _config;
    private readonly double _factor, _evaluationFactor;
    private readonly float[] _share;
    private readonly double _sum;
    private readonly int[] _room;

    /// <exception cref="ArgumentException">τ is not a positive number, the least room or γ is negative, or there is never any room.</exception>
    public Capacity(CapacityConfig config, MoeConfig moe)
    {
        if (!IsFactor(config.Factor) || !IsFactor(config.EvaluationFactor ?? config.Factor) || !(config.Tau > 0) || config.Min < 0)
            throw new ArgumentException($"a capacity's tau is above 0, as is its factor or, with a factor of 0, its minimum, unlike {config}");
        (_config, _factor, _evaluationFactor) = (config, AsWritten(config.Factor), AsWritten(config.EvaluationFactor ?? config.Factor));
        _share = moe.Columns(b => b.IsShared ? float.PositiveInfinity : b.IsFfn ? config.Tau : 1);
        _sum = _share.Where(float.IsFinite).Sum(static s => (double)s);
        _room = new int[_share.Length];

        bool IsFactor(float factor) => factor > 0 || (factor == 0 && config.Min > 0);
    }

    /// <summary>What is left of a selection.   selected, scores [T, E] → kept [T, E]</summary>
    /// <param name="scores">Logits or probabilities.</param>
    /// <param name="choices">The most that a token could choose.</param>
    /// <param name="places">How many the experts have room for together.</param>
    public Tensor Keep(Tape g, Tensor selected, Tensor scores, in RouterContext context, int choices, out int places)
    {
        Tensor? order = _config.Policy switch
        {
            DropPolicy.Probs => scores,
            DropPolicy.Choice => Preference(g, scores, choices),
            _ => null,
        };
        double factor = g.IsTraining ? _factor : _evaluationFactor;
        Tensor kept = g.New(selected.Shape);
        if (!_config.PerSequence || context.Sequences.IsEmpty)
            places = Keep(g.Backend, factor, selected, order, kept);
        else
        {
            places = 0;
            for (ReadOnlySpan<int> rest = context.Sequences.Span; rest.Length > 0; rest = rest[4..])
                places += Keep(g.Backend, factor, Rows(selected, rest), order is null ? null : Rows(order, rest), Rows(kept, rest));
        }
        return g.PublishConstant(kept);
    }

    /// <summary>The room of all experts together.</summary>
    private int Keep(IBackend backend, double factor, Tensor selected, Tensor? order, Tensor kept)
    {
        int places = 0;
        for (int e = 0; e < _room.Length; e++)
            places = checked(places + (_room[e] = Room(selected.Rows, _share[e], factor)));
        backend.SelectTokens(selected, order, _room, kept);
        return places;
    }

    private int Room(int tokens, float share, double factor)
    {
        if (float.IsInfinity(share) && !_config.LimitsShared)
            return tokens;
        double eta = float.IsInfinity(share) ? 1 : share;
        double room = _config.Rounding == RoomRounding.Up
            ? MathF.Ceiling((float)(tokens * eta / _sum) * (float)factor)    // F32, as references round it
            : Math.Ceiling(Math.Floor(factor * tokens * eta / _sum) / 2) * 2;
        return (int)Math.Min(Math.Max(room, _config.Min), tokens);
    }

    /// <summary>The double nearest to the decimal number that the F32 one was read from: 0.9 · 20 / 2 is 9, and 0.9 in F32 below it.</summary>
    private static double AsWritten(float factor) => double.Parse(factor.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    /// <summary>[T, E] k for a token's first choice, k − 1 for the second, and so on down to 0.</summary>
    private static Tensor Preference(Tape g, Tensor scores, int choices)
    {
        Tensor sum = g.NewZeros(scores.Shape), top = g.New(scores.Shape);
        for (int k = 1; k <= choices; k++)
        {
            g.Backend.SelectTopK(scores, k, top);
            g.Backend.Axpy(1, top, sum);
        }
        g.PublishConstant(top);
        return g.PublishConstant(sum);
    }

    private static Tensor Rows(Tensor x, ReadOnlySpan<int> sequence) => x.View([sequence[1], x.Cols], (long)sequence[0] * x.Cols);
}
