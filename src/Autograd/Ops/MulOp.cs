using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class MulOp
{
    /// <summary>y = a · b, elementwise</summary>
    public static Tensor Mul(this Tape g, Tensor a, Tensor b)
    {
        Tensor y = g.New(a.Shape);
        g.Backend.Mul(a, b, y);
        g.Publish(y, a, b)?.Node = new Back(a, b);
        return y;
    }

    private sealed class Back(Tensor a, Tensor b) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(a) is { } da)
                g.Backend.MulAdd(dy, b, da);
            if (g.Grad(b) is { } db)
                g.Backend.MulAdd(dy, a, db);
        }
    }
}
