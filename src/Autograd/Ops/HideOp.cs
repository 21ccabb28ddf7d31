using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class HideOp
{
    private const float Low = 1e30f;

    /// <summary>
    /// y = x where the mask is 1, and x − 1e30 where it is 0, so that a softmax gives those nothing beside the others; no
    /// gradient flows through them. The softmax of a row without any 1 means nothing.   x, mask [T, E] → y [T, E]
    /// </summary>
    public static Tensor Hide(this Tape g, Tensor x, Tensor mask)
    {
        Tensor shift = g.New(x.Shape), y = g.New(x.Shape);
        g.Backend.Fill(shift, -Low);
        g.Backend.Axpy(Low, mask, shift);   // exactly 0 or −1e30
        g.Backend.Add(x, shift, y);
        g.Publish(y, x, mask)?.Node = new Back(x, mask);
        return y;
    }

    private sealed class Back(Tensor x, Tensor mask) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.MulAdd(dy, mask, g.Grad(x)!);
    }
}
