using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class RmsNormOp
{
    /// <summary>
    /// y = x / rms(x) · w, rms(x) = √(mean x² + eps).   x [T, D], w [D] → y [T, D] (Zhang and Sennrich, 2019). A row of x may
    /// hold several vectors of D, each normalised by itself: the heads of a query.
    /// </summary>
    public static Tensor RmsNorm(this Tape g, Tensor x, Tensor w, float eps)
    {
        Tensor y = g.New(x.Shape), r = g.New([(int)(x.Count / w.Count)]);   // r = 1 / rms, saved for the way back
        g.Backend.RmsNorm(x, w, eps, y, r);
        g.Publish(y, x, w)?.Node = new Back(x, w, r);
        return y;
    }

    private sealed class Back(Tensor x, Tensor w, Tensor r) : Node
    {
        public override void Backward(Tape g, Tensor dy) =>
            g.Backend.RmsNormGrad(x, w, r, dy, dx: g.Grad(x), dw: g.Grad(w));
    }
}
