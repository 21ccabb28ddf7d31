using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class ScaleOp
{
    /// <summary>y = α · x</summary>
    public static Tensor Scale(this Tape g, Tensor x, float alpha)
    {
        Tensor y = g.NewZeros(x.Shape);
        g.Backend.Axpy(alpha, x, y);
        g.Publish(y, x)?.Node = new Back(x, alpha);
        return y;
    }

    private sealed class Back(Tensor x, float alpha) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.Axpy(alpha, dy, g.Grad(x)!);
    }
}
