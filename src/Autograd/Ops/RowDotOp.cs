using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class RowDotOp
{
    /// <summary>y[t] = Σ_d a[t, d] · b[t, d].   a, b [T, D] → y [T]; two vectors [D] give their dot product [1].</summary>
    public static Tensor RowDot(this Tape g, Tensor a, Tensor b)
    {
        Tensor y = g.NewZeros([a.Rows]);
        g.Backend.RowDot(a, b, y);
        g.Publish(y, a, b)?.Node = new Back(a, b);
        return y;
    }

    private sealed class Back(Tensor a, Tensor b) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(a) is { } da)
                g.Backend.ScaleRows(b, dy, da);
            if (g.Grad(b) is { } db)
                g.Backend.ScaleRows(a, dy, db);
        }
    }
}
