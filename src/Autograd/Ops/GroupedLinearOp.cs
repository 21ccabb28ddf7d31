using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class GroupedLinearOp
{
    /// <summary>
    /// Every expert's linear layer on its own run of slots: y[s] = x[s] · w[e]ᵀ for the slots s of expert e.
    /// x [S, D], w Count × [N, D] → y [S, N]. Nothing is padded and nothing dropped (MegaBlocks' dropless form).
    /// </summary>
    public static Tensor GroupedLinear(this Tape g, Tensor x, SlotRange range, Tensor[] w)
    {
        Tensor y = g.New([x.Rows, w[0].Rows]);
        g.Backend.GroupedLinear(x, range, w, y);
        g.Publish(y, [x], w)?.Node = new Back(x, range, w);
        return y;
    }

    private sealed class Back(Tensor x, SlotRange range, Tensor[] w) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(x) is { } dx)
                g.Backend.GroupedLinearGradInput(dy, range, w, dx);
            g.Backend.GroupedLinearGradWeight(dy, x, range, Array.ConvertAll(w, g.Grad));
        }
    }
}
