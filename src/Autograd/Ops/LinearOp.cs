using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class LinearOp
{
    /// <summary>y = x · wᵀ (+ b).   x [T, D], w [N, D], b [N] → y [T, N]</summary>
    public static Tensor Linear(this Tape g, Tensor x, Tensor w, Tensor? b = null)
    {
        Tensor y = g.New([x.Rows, w.Rows]);
        g.Backend.Linear(x, w, y);
        if (b is not null)
            g.Backend.Outer(null, b, y);
        g.Publish(y, x, w, b)?.Node = new Back(x, w, b);
        return y;
    }

    private sealed class Back(Tensor x, Tensor w, Tensor? b) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(x) is { } dx)
                g.Backend.LinearGradInput(dy, w, dx);
            if (g.Grad(w) is { } dw)
                g.Backend.LinearGradWeight(dy, x, dw);
            if (b is not null && g.Grad(b) is { } db)
                g.Backend.ColumnSum(dy, null, db);
        }
    }
}
