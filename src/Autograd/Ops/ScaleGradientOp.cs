using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class ScaleGradientOp
{
    /// <summary>y = x, but dx = s · dy, element by element or row by row: for estimators whose gradient is not that of their value.</summary>
    /// <param name="s">[T, D] or [T], without gradient.</param>
    public static Tensor ScaleGradient(this Tape g, Tensor x, Tensor s)
    {
        Tensor y = g.NewFrom(x, x.Shape);
        g.Publish(y, x, s)?.Node = new Back(x, s);
        return y;
    }

    private sealed class Back(Tensor x, Tensor s) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (s.Count == x.Count)
                g.Backend.MulAdd(dy, s, g.Grad(x)!);
            else
                g.Backend.ScaleRows(dy, s, g.Grad(x)!);
        }
    }
}
