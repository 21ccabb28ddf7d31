using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class GatedExpertsOp
{
    /// <summary>
    /// A bank of gated experts from the tokens' rows to their weighted sum: y[t] = onto[t] + Σ_s weight[s] · down(f(gate x[t]) · up x[t])
    /// over the slots s of token t. x [T, D], weights Count × [F, D], [F, D], [D, F] → y [T, D]. What <see cref="GatherRowsOp"/>,
    /// <see cref="GroupedLinearOp"/>, <see cref="GatedOp"/> and <see cref="CombineOp"/> say one after the other, in one kernel each way.
    /// </summary>
    /// <param name="w">Of all experts first the gates, then the ups, then the downs.</param>
    /// <param name="onto">[T, D], or null for zeros.</param>
    /// <param name="gradientScale">[S] factor on the gradient that reaches the expert of a slot, and not on its weight's; null for none.</param>
    public static Tensor GatedExperts<TOp>(this Tape g, Tensor x, in ExpertSlots slots, Tensor[] w,
        Tensor? onto = null, Tensor? gradientScale = null) where TOp : struct, IUnary
    {
        Shape middle = [(int)slots.Token.Count, w.Length == 0 ? 0 : w[0].Rows];
        Tensor y = g.NewFrom(onto, [x.Rows, x.Cols]), a = g.New(middle), b = g.New(middle);
        g.Backend.GatedExperts<TOp>(x, slots, new(w), a, b, y);
        g.PublishConstant(a);
        g.PublishConstant(b);
        g.Publish(y, [x, slots.Weight, onto, gradientScale], w)?.Node = new Back<TOp>(x, slots, w, a, b, onto, gradientScale);
        return y;
    }

    private sealed class Back<TOp>(Tensor x, ExpertSlots slots, Tensor[] w, Tensor a, Tensor b, Tensor? onto, Tensor? gradientScale) : Node
        where TOp : struct, IUnary
    {
        public override void Backward(Tape g, Tensor dy)
        {
            ExpertSlots scaled = gradientScale is null ? slots : slots with { Weight = g.Backend.New(slots.Weight.Shape) };
            if (gradientScale is not null)
                g.Backend.Mul(slots.Weight, gradientScale, scaled.Weight);
            g.Backend.GatedExpertsGrad<TOp>(x, scaled, new(w), a, b, dy, g.Grad(x), g.Grad(slots.Weight), new(Array.ConvertAll(w, g.Grad)));
            if (gradientScale is not null)
                g.Backend.Free(scaled.Weight);
            if (onto is not null && g.Grad(onto) is { } donto)
                g.Backend.Axpy(1, dy, donto);
        }
    }
}
