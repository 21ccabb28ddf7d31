using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class ColumnSumOp
{
    /// <summary>y[d] = Σ_t w[t] · x[t, d].   x [T, D], w [T] without gradient (a token mask) → y [D]</summary>
    public static Tensor ColumnSum(this Tape g, Tensor x, Tensor w)
    {
        if (w.RequiresGrad)
            throw new ArgumentException($"column weights are constants, {w.Describe()} is not");
        Tensor y = g.NewZeros([x.Cols]);
        g.Backend.ColumnSum(x, w, y);
        g.Publish(y, x, w)?.Node = new Back(x, w);
        return y;
    }

    private sealed class Back(Tensor x, Tensor w) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.Outer(w, dy, g.Grad(x)!);
    }
}
