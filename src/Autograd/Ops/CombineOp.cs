using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class CombineOp
{
    /// <summary>
    /// y[t] = onto[t] + Σ_s weight[s] · x[s] over the slots s of token t.   x [S, D], weight and token [S] → y [T, D].
    /// Banks of experts chain through <paramref name="onto"/>: each adds to what the banks before it left.
    /// </summary>
    /// <param name="tokens">T</param>
    /// <param name="onto">[T, D], or null for zeros.</param>
    public static Tensor Combine(this Tape g, Tensor x, Tensor weight, Tensor token, SlotRange range, int tokens, Tensor? onto = null)
    {
        Tensor y = g.NewFrom(onto, [tokens, x.Cols]);
        g.Backend.Combine(x, weight, token, range, y);
        g.Publish(y, x, weight, onto)?.Node = new Back(x, weight, token, range, onto);
        return y;
    }

    private sealed class Back(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor? onto) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            g.Backend.CombineGrad(x, weight, token, range, dy, g.Grad(x), g.Grad(weight));
            if (onto is not null && g.Grad(onto) is { } donto)
                g.Backend.Axpy(1, dy, donto);
        }
    }
}
