using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors;

/// <summary>Checks that several arguments share, one per family of kernels.</summary>
internal static unsafe partial class Check
{
    /// <summary>offsets[E], once the offsets are known to rise from 0 and the slot lists to have room for that many.</summary>
    public static int SlotLists(Tensor offsets, int experts, Tensor token, Tensor expert)
    {
        Ints(offsets, experts + 1L);
        Ints(token, token.Count);
        Ints(expert, token.Count);
        That(!IsReadable(offsets) || offsets.Pointer<int>()[0] == 0, "slot offsets begin at 0");
        return Slots(new SlotRange(offsets, 0, experts), checked((int)token.Count)).End;
    }

    /// <summary>One number of places, none or more, for each expert.</summary>
    public static void Room(ReadOnlySpan<int> room, int experts)
    {
        That(room.Length == experts, "there is one room for each expert");
        foreach (int places in room)
            That(places >= 0, "a room is not negative");
    }

    /// <summary>The range's slots lie in <paramref name="rows"/> rows, and each of its experts has a weight; all rows are one expert's.</summary>
    public static void Experts(in SlotRange range, int rows, int weights)
    {
        Slots(range, rows);
        That(weights == (range.Offsets is null ? 1 : range.Count), "a grouped linear takes one weight per expert of its range");
    }

    /// <summary>Shapes of a bank of gated experts; returns its slots.</summary>
    /// <param name="quantised">Whether its weights may be.</param>
    public static (int Start, int End) GatedExperts(
        Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor y, bool quantised = false)
    {
        F32(x);
        Matrix(y, x.Rows, x.Cols);
        F32(a);
        Same(b, a);
        Vector(slots.Weight, a.Rows);
        Experts(slots.Range, a.Rows, w.Count);
        That(w.Down.Length == w.Count, "each gated expert has three matrices");
        for (int e = 0; e < w.Count; e++)
        {
            Of(w.Gate[e], a.Cols, x.Cols);
            Of(w.Up[e], a.Cols, x.Cols);
            Of(w.Down[e], x.Cols, a.Cols);
        }
        (int start, int end) = Slots(slots.Range, a.Rows);
        Indices(slots.Token, start, end, x.Rows);
        return (start, end);

        void Of(Tensor matrix, int rows, int cols)
        {
            if (quantised)
                AnyWeight(matrix, rows, cols, "w");
            else
                Weight(matrix, rows, cols, "w");
        }
    }

    /// <summary>What gradients of gated experts are as large as.</summary>
    public static void GatedExpertsGrad(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor? dx, Tensor? dweight, in GatedWeights<Tensor?> dw)
    {
        Same(dx, x);
        if (dweight is not null)
            Vector(dweight, slots.Weight.Count);
        That(dw.Count == w.Count && dw.Down.Length == w.Count, "each gated expert has three gradients, or null");
        for (int e = 0; e < w.Count; e++)
        {
            Like(dw.Gate[e], w.Gate[e]);
            Like(dw.Up[e], w.Up[e]);
            Like(dw.Down[e], w.Down[e]);
        }

        static void Like(Tensor? gradient, Tensor w)
        {
            if (gradient is not null)
                Matrix(gradient, w.Rows, w.Cols);
        }
    }

    /// <summary>labels [T] name columns of logits [T, V]; negative ones name none.</summary>
    public static void Labels(Tensor logits, Tensor labels)
    {
        F32(logits);
        Ints(labels, logits.Rows);
        if (!IsReadable(labels))
            return;
        int* label = labels.Pointer<int>();
        for (int t = 0; t < logits.Rows; t++)
            That(label[t] < logits.Cols, "a label lies beyond the vocabulary");
    }

    /// <summary>The rows of x and y are heads, as many on both sides or one on either, and the columns lie inside them. Returns how many heads move.</summary>
    public static int Columns(Tensor x, HeadColumns from, HeadColumns to, int width, Tensor y)
    {
        Heads(x, from, width);
        Heads(y, to, width);
        That(x.Rows == y.Rows, "columns move between as many rows");
        That(from.Heads == to.Heads || from.Heads == 1 || to.Heads == 1, "heads are as many on both sides, or one on either");
        return Math.Max(from.Heads, to.Heads);
    }

    private static void Heads(Tensor x, HeadColumns columns, int width, [CallerArgumentExpression(nameof(x))] string name = "")
    {
        That(columns.Heads > 0 && columns.HeadDim > 0 && columns.First >= 0 && width >= 0 && width <= columns.HeadDim - columns.First,
            "the columns lie inside a head");
        Matrix(x, x.Rows, checked(columns.Heads * columns.HeadDim), name);
    }

    /// <summary>The rows of x are heads that turn pair by pair.</summary>
    public static void Rope(Tensor x, Tensor positions, Tensor frequencies, in RopeLayout layout)
    {
        int turned = layout.Turned == 0 ? layout.HeadDim - layout.First : layout.Turned;
        That(layout.HeadDim > 0 && x.Cols % layout.HeadDim == 0, "rows are heads");
        That(layout.First >= 0 && turned >= 0 && turned % 2 == 0 && turned <= layout.HeadDim - layout.First, "an even number of a head's columns turn");
        Ints(positions, x.Rows);
        Vector(frequencies, layout.Pairs);
    }

    /// <summary>q, k and v have the layout's heads, k and v one type, each has a sink if any has, and every sequence lies inside them and the mask.</summary>
    public static void Attention(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, in AttentionLayout layout,
        Tensor y, Tensor lse)
    {
        That(layout.Heads > 0 && layout.KvHeads > 0 && layout.HeadDim > 0 && layout.ValueDim > 0 && layout.Heads % layout.KvHeads == 0,
            "key heads divide query heads, and heads have a size");
        Matrix(q, q.Rows, checked(layout.Heads * layout.HeadDim));
        Weight(k, k.Rows, checked(layout.KvHeads * layout.HeadDim));
        Weight(v, k.Rows, checked(layout.KvHeads * layout.ValueDim));
        That(k.DType == v.DType, "keys and values are of one type");
        Matrix(y, q.Rows, checked(layout.Heads * layout.ValueDim));
        Matrix(lse, q.Rows, layout.Heads);
        if (sinks is not null)
            Vector(sinks, layout.Heads);
        Ints(sequences, 4L * sequences.Rows);
        if (visible is not null)
            Ints(visible, (long)q.Rows * visible.Cols);
        if (!IsReadable(sequences))
            return;
        int* s = sequences.Pointer<int>();
        for (int b = 0; b < sequences.Rows; b++, s += 4)
        {
            That(s[0] >= 0 && s[1] >= 0 && s[0] <= q.Rows - s[1], "a sequence's queries lie outside q");
            That(s[2] >= 0 && s[3] >= 0 && s[2] <= k.Rows - s[3], "a sequence's keys lie outside k");
            That(visible is null || visible.Cols >= s[3], "visible has fewer columns than a sequence has keys");
        }
    }

    /// <summary>Gradients have the shape of what they belong to, and sinks that get one are there.</summary>
    public static void AttentionGrad(Tensor q, Tensor k, Tensor v, Tensor? sinks, Tensor y, Tensor dy,
        Tensor? dq, Tensor? dk, Tensor? dv, Tensor? dsinks)
    {
        Same(dy, y);
        Same(dq, q);
        F32(k);
        F32(v);
        Same(dk, k);
        Same(dv, v);
        That(dsinks is null || sinks is not null, "there is no gradient of sinks without sinks");
        if (dsinks is not null)
            Vector(dsinks, sinks!.Count);
    }

    /// <summary>There are logits to choose among, what was seen is among them, and the rule makes sense.</summary>
    public static void Sampling(Tensor logits, Tensor? seen, in SamplingRule rule, Tensor id)
    {
        F32(logits);
        That(logits.Count is > 0 and <= 1 << 24, "one token out of at least one and at most 2^24 is sampled");
        Ints(id, 1);
        That(rule.Temperature >= 0 && rule.Uniform is >= 0 and < 1 && rule.TopK >= 0 && rule.TopP > 0 && rule.MinP is >= 0 and <= 1 && rule.Penalty > 0,
            "a sampling rule has no negative numbers, and a draw below 1");
        if (seen is null)
            return;
        Ints(seen, seen.Count);
        Indices(seen, 0, (int)seen.Count, (int)logits.Count);
    }
}
