using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class RopeOp
{
    /// <summary>Rotary position embedding (Su et al., 2021).   x [T, H·K], positions [T], frequencies [K/2] → y [T, H·K]</summary>
    public static Tensor Rope(this Tape g, Tensor x, Tensor positions, Tensor frequencies, RopeLayout layout)
    {
        Tensor y = g.New(x.Shape);
        g.Backend.Rope(x, positions, frequencies, layout, y);
        g.Publish(y, x)?.Node = new Back(x, positions, frequencies, layout);
        return y;
    }

    private sealed class Back(Tensor x, Tensor positions, Tensor frequencies, RopeLayout layout) : Node
    {
        public override void Backward(Tape g, Tensor dy) =>
            g.Backend.RopeGrad(dy, positions, frequencies, layout, g.Grad(x)!);
    }
}
