using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class UnaryOp
{
    /// <summary>y = f(x), elementwise; f is one of the structs of Functors.cs.</summary>
    public static Tensor Unary<TOp>(this Tape g, Tensor x) where TOp : struct, IUnary
    {
        Tensor y = g.New(x.Shape);
        g.Backend.Unary<TOp>(x, y);
        g.Publish(y, x)?.Node = new Back<TOp>(x);
        return y;
    }

    private sealed class Back<TOp>(Tensor x) : Node where TOp : struct, IUnary
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.UnaryGrad<TOp>(x, dy, g.Grad(x)!);
    }
}
