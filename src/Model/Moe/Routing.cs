using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>
/// Who goes where, and how strongly: the plan a router hands over. A value, returned and never stored in a module; a
/// struct, so that a decode step allocates nothing.
/// </summary>
public readonly record struct Routing
{
    /// <summary>[T, E] before the softmax: z-loss, and the next layer's gating residual.</summary>
    public required Tensor Logits { get; init; }

    /// <summary>[T, E] after the softmax over all experts: balance and entropy losses.</summary>
    public required Tensor Probs { get; init; }

    /// <summary>[T, E] 1 where the router chose the expert, before any capacity.</summary>
    public required Tensor Selected { get; init; }

    /// <summary>[T, E] 1 where the expert runs: <see cref="Selected"/> less what capacity dropped. The same tensor where nothing can drop.</summary>
    public required Tensor Kept { get; init; }

    /// <summary>[T, E] the combine weight of every expert that runs, 0 elsewhere.</summary>
    public required Tensor Weights { get; init; }

    /// <summary>[S] I32: the token row of each slot; slots are sorted by expert, then by token.</summary>
    public required Tensor Token { get; init; }

    /// <summary>[S] I32: the expert of each slot.</summary>
    public required Tensor Expert { get; init; }

    /// <summary>[S] the combine weight of each slot: the gradient's path back into the gate.</summary>
    public required Tensor Weight { get; init; }

    /// <summary>[E + 1] I32: expert e owns the slots Offsets[e] … Offsets[e + 1]; the last one is the number of live slots.</summary>
    public required Tensor Offsets { get; init; }

    /// <summary><see cref="Offsets"/> on the host, or null where no crossing was needed: at most <see cref="SmallBatch"/> tokens, or a device and a router of so many experts, or experts of so much room, at most.</summary>
    public int[]? HostOffsets { get; init; }

    /// <summary>What only this kind of router knows: thresholds, noise, the number wanted before dropping.</summary>
    public RouterDetail? Detail { get; init; }

    /// <summary>The banks whose experts the columns are, in order; the layer adds them.</summary>
    public IReadOnlyList<ExpertBank> Banks { get; init; }

    /// <summary>[B · 4] which rows are one sequence, see <see cref="Batch.SequenceTable"/>; empty when all are. The layer adds it.</summary>
    public ReadOnlyMemory<int> Sequences { get; init; }

    public int Tokens => Logits.Rows;
    public int NumExperts => Logits.Cols;

    /// <summary>How many slots were chosen and dropped for lack of room. Reads the device where a capacity is at work.</summary>
    public int CountDropped(IBackend backend) => ReferenceEquals(Selected, Kept) ? 0
        : backend.ToFloats(Selected).Count(static s => s > 0) - backend.ToFloats(Kept).Count(static k => k > 0);

    /// <summary>Up to so many tokens, slot tensors are as long as they could get and nothing crosses to the host.</summary>
    public const int SmallBatch = 8;

    /// <summary>
    /// Turns a router's decision, [T, E] matrices, into the list of slots that the experts work through. Where it is longer than there
    /// are slots, nobody reads what lies behind the last, whose number stands in <see cref="Offsets"/>.
    /// </summary>
    /// <param name="logits">Before the softmax.</param>
    /// <param name="probs">After it.</param>
    /// <param name="selected">1 where chosen.</param>
    /// <param name="weights">Combine weights, 0 where not running; gradients flow through it.</param>
    /// <param name="maxExperts">The most experts that the settings let one token have; null where they let it have any number.</param>
    /// <param name="kept">1 where running, when a capacity dropped some.</param>
    /// <param name="places">The most tokens that there is room for in all experts together; null where nothing limits it.</param>
    public static Routing Plan(Tape g, Tensor logits, Tensor probs, Tensor selected, Tensor weights, int? maxExperts,
        Tensor? kept = null, RouterDetail? detail = null, int? places = null)
    {
        kept ??= selected;
        Tensor offsets = g.New([logits.Cols + 1], DType.I32);
        g.Backend.CountSlots(kept, offsets);
        g.PublishConstant(offsets);

        // The one crossing: the number of slots depends on the data, and the host allocates. A device rather has room for the most there can be.
        bool isBounded = logits.Rows <= SmallBatch || (g.Backend.IsDevice && (maxExperts ?? places) is not null);
        int[]? host = isBounded ? null : g.Backend.ToInts(offsets);
        int slots = host?[^1] ?? Math.Min(checked(logits.Rows * Math.Min(maxExperts ?? logits.Cols, logits.Cols)), places ?? int.MaxValue);

        Tensor token = g.New([slots], DType.I32), expert = g.New([slots], DType.I32);
        g.Backend.FillSlots(kept, offsets, token, expert);
        g.PublishConstant(token);
        g.PublishConstant(expert);
        return new Routing
        {
            Logits = g.Keep(logits),
            Probs = g.Keep(probs),
            Selected = g.Keep(selected),
            Kept = g.Keep(kept),
            Weights = g.Keep(weights),
            Token = g.Keep(token),
            Expert = g.Keep(expert),
            Weight = g.Keep(g.GatherSlots(weights, token, expert, offsets)),
            Offsets = g.Keep(offsets),
            HostOffsets = host,
            Detail = detail,
            Banks = [],
        };
    }
}

/// <summary>Base of the records in which a router returns what only it has.</summary>
public abstract record RouterDetail
{
    /// <summary>[S] how many times its own gradient the output of each slot's network receives; null for once.</summary>
    public virtual Tensor? GradientScale => null;

    /// <summary>[T] what part of each token's own input is added to its output, in place of what was dropped; null for none.</summary>
    public virtual Tensor? PassedOn => null;

    /// <summary>Its tensors by the names a trace gives them.</summary>
    public virtual IEnumerable<(string Name, Tensor Value)> Tensors => [];

    /// <summary>Those that count something: whole numbers, kept as F32.</summary>
    public virtual IEnumerable<(string Name, Tensor Value)> Counts => [];
}
