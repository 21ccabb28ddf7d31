using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class SoftmaxOp
{
    /// <summary>y[t] = softmax over the row x[t].   [T, E] → [T, E]</summary>
    public static Tensor Softmax(this Tape g, Tensor x)
    {
        Tensor y = g.New(x.Shape);
        g.Backend.Softmax(x, y);
        g.Publish(y, x)?.Node = new Back(x, y);
        return y;
    }

    private sealed class Back(Tensor x, Tensor y) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.SoftmaxGrad(y, dy, g.Grad(x)!);
    }
}
