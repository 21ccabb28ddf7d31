using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class GatedOp
{
    /// <summary>y = f(a) · b, the middle of a gated feed-forward layer: SwiGLU with f = silu (Shazeer, 2020).</summary>
    public static Tensor Gated<TOp>(this Tape g, Tensor a, Tensor b) where TOp : struct, IUnary
    {
        Tensor y = g.New(a.Shape);
        g.Backend.Gated<TOp>(a, b, y);
        g.Publish(y, a, b)?.Node = new Back<TOp>(a, b);
        return y;
    }

    private sealed class Back<TOp>(Tensor a, Tensor b) : Node where TOp : struct, IUnary
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.GatedGrad<TOp>(a, b, dy, g.Grad(a), g.Grad(b));
    }
}
