using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class ScaleRowsOp
{
    /// <summary>y[t] = s[t] · x[t].   x [T, D], s [T] → y [T, D]</summary>
    public static Tensor ScaleRows(this Tape g, Tensor x, Tensor s)
    {
        Tensor y = g.NewZeros(x.Shape);
        g.Backend.ScaleRows(x, s, y);
        g.Publish(y, x, s)?.Node = new Back(x, s);
        return y;
    }

    private sealed class Back(Tensor x, Tensor s) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(x) is { } dx)
                g.Backend.ScaleRows(dy, s, dx);
            if (g.Grad(s) is { } ds)
                g.Backend.RowDot(dy, x, ds);
        }
    }
}
