using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class BandSoftmaxOp
{
    /// <summary>
    /// Each chosen expert's share among those it only just beat, see <see cref="IBackend.BandSoftmax"/>: 1 unless another is near
    /// (SparseMixer, Liu et al., 2023).   x [T, E], mask [T, E] without gradient → y [T, E], 0 where not chosen
    /// </summary>
    public static Tensor BandSoftmax(this Tape g, Tensor x, Tensor mask, float band)
    {
        Tensor y = g.New(x.Shape);
        g.Backend.BandSoftmax(x, mask, band, y);
        g.Publish(y, x, mask)?.Node = new Back(x, mask, band, y);
        return y;
    }

    private sealed class Back(Tensor x, Tensor mask, float band, Tensor y) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.BandSoftmaxGrad(x, mask, band, y, dy, g.Grad(x)!);
    }
}
