using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class RowSumOp
{
    /// <summary>y[t] = Σ_d x[t, d].   [T, D] → [T]</summary>
    public static Tensor RowSum(this Tape g, Tensor x)
    {
        Tensor y = g.NewZeros([x.Rows]);
        g.Backend.RowDot(x, null, y);
        g.Publish(y, x)?.Node = new Back(x);
        return y;
    }

    private sealed class Back(Tensor x) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.Outer(dy, null, g.Grad(x)!);
    }
}
