using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class ScaleRowsOp
{
    /// <summary>y[t] = onto[t] + s[t] · x[t].   x [T, D], s [T] → y [T, D]</summary>
    /// <param name="onto">[T, D], or null for zeros.</param>
    public static Tensor ScaleRows(this Tape g, Tensor x, Tensor s, Tensor? onto = null)
    {
        Tensor y = g.NewFrom(onto, x.Shape);
        g.Backend.ScaleRows(x, s, y);
        g.Publish(y, x, s, onto)?.Node = new Back(x, s, onto);
        return y;
    }

    private sealed class Back(Tensor x, Tensor s, Tensor? onto) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(x) is { } dx)
                g.Backend.ScaleRows(dy, s, dx);
            if (g.Grad(s) is { } ds)
                g.Backend.RowDot(dy, x, ds);
            if (onto is not null && g.Grad(onto) is { } donto)
                g.Backend.Axpy(1, dy, donto);
        }
    }
}
