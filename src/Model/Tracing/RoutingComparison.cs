using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tracing;

/// <summary>A token that got other experts on a second device.</summary>
/// <param name="Sequence">Row of the token ids.</param>
/// <param name="Token">Position in it.</param>
/// <param name="Margin">
/// How far the first device's scores were from it, see <see cref="Choice.Margin"/>, in the unit of what the router chooses by: probabilities
/// or logits. Null where that is not known: a router that decides on the host.
/// </param>
public sealed record RoutingFlip(int Layer, int Sequence, int Token, float? Margin);

/// <summary>
/// Where two devices chose other experts in the evaluation pass. Behind a flip everything differs, so a flip is a <em>first</em> one when no
/// earlier layer had one in its sequence, and, where tokens compete for room, no token of the pass had one before.
/// </summary>
/// <param name="IsForced">Whether the second device took the first one's choices, see <see cref="ChoiceBackend"/>.</param>
/// <param name="Decisions">Pairs of a token and a mixture layer.</param>
/// <param name="First">
/// Largest margin first, those unknown before all. When the second device was forced, what it would have chosen by itself: nothing lies
/// behind a flip then.
/// </param>
/// <param name="Later">How many flips follow from others.</param>
public sealed record RoutingComparison(bool IsForced, int Decisions, IReadOnlyList<RoutingFlip> First, int Later)
{
    /// <summary>A flip with a larger margin is no rounding: a real disagreement.</summary>
    public const float Tolerance = 1e-4f;

    /// <param name="first">What <see cref="Tracer.Forward"/> wrote about a model on the backend beside it.</param>
    /// <exception cref="ArgumentException">The two are not of the same pass.</exception>
    public static RoutingComparison Of((Trace Trace, ChoiceBackend Backend) first, (Trace Trace, ChoiceBackend Backend) second)
    {
        if (first.Backend.Choices.Count != second.Backend.Choices.Count)
            throw new ArgumentException($"one device made {first.Backend.Choices.Count} choices, the other {second.Backend.Choices.Count}");
        if (first.Trace.Find("input_ids") is not { } ids)
            throw new ArgumentException("there is no evaluation pass to compare");
        bool forced = second.Backend.IsForced;
        ILookup<int?, Step> steps = first.Backend.Choices.Zip(second.Backend.Choices, static (a, b) => new Step(a, b)).ToLookup(static s => s.Here.Layer);
        bool[] flipped = new bool[ids.Rows];
        List<RoutingFlip> flips = [];
        int decisions = 0, later = 0, tokens = (int)ids.Count;
        for (int layer = 0; first.Trace.Find($"hidden_states.{layer}") is not null; layer++)
        {
            string name = $"router.{layer}.expert_mask";
            if (first.Trace.Find(name) is not { } here)
                continue;
            if (second.Trace.Find(name) is not { } there || there.Shape != here.Shape)
                throw new ArgumentException($"{here.Describe()} has no counterpart");
            Step[] made = [.. steps[layer]];
            bool[] before = (bool[])flipped.Clone();
            decisions += tokens;
            for (int t = 0; t < tokens; t++)
            {
                bool other = !Row(here, t).SequenceEqual(Row(there, t));
                Step[] differing = other || forced ? [.. made.Where(s => s.Differs(t, tokens))] : [];
                if (!other && differing.Length == 0)
                    continue;
                int sequence = t / ids.Cols;
                flipped[sequence] |= other;
                if (before[sequence] || (!forced && differing.Length > 0 && differing[0].Here.IsAcrossTokens && Any(before, made, differing[0])))
                    later++;
                else
                    flips.Add(new RoutingFlip(layer, sequence, t % ids.Cols, Margin(forced ? differing : differing.AsSpan(0, Math.Min(1, differing.Length)), t, tokens)));
            }
        }
        return new RoutingComparison(forced, decisions, [.. flips.OrderByDescending(static f => f.Margin is { } m && !float.IsNaN(m) ? m : float.PositiveInfinity)], later);
    }

    /// <summary>Those that rounding explains.</summary>
    public IEnumerable<RoutingFlip> Within => First.Where(static f => f.Margin <= Tolerance);

    /// <summary>Those that it does not; a margin that is no number explains nothing.</summary>
    public IEnumerable<RoutingFlip> Beyond => First.Where(static f => f.Margin is { } margin && !(margin <= Tolerance));

    public IEnumerable<RoutingFlip> Unknown => First.Where(static f => f.Margin is null);

    private static ReadOnlySpan<long> Row(Tensor mask, int token) => mask.Host<long>().Slice(token * mask.Cols, mask.Cols);

    /// <summary>Whether anything in the pass differed before a step: in earlier layers, or in earlier steps of this one.</summary>
    private static bool Any(bool[] before, Step[] made, Step step) =>
        before.Contains(true) || made.TakeWhile(s => s != step).Any(static s => !s.Here.Chosen.AsSpan().SequenceEqual(s.There.Chosen));

    /// <summary>The largest of a token's rows in these steps.</summary>
    private static float? Margin(ReadOnlySpan<Step> differing, int token, int tokens)
    {
        float? largest = null;
        foreach (Step step in differing)
            foreach (int row in step.RowsOf(token, tokens))
            {
                if (step.Here.Margin(step.There, row) is not { } margin)
                    return null;
                largest = MathF.Max(largest ?? 0, margin);
            }
        return largest;
    }

    /// <summary>A choice as both devices made it. A router may take several steps; later ones follow from the first that differs.</summary>
    private sealed record Step(Choice Here, Choice There)
    {
        public bool Differs(int token, int tokens) => RowsOf(token, tokens).Any();

        public IEnumerable<int> RowsOf(int token, int tokens) => Here.RowsOf(token, tokens).Where(row => Here.Differs(There, row));
    }
}
