using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class LogSumExpOp
{
    /// <summary>y[t] = ln Σ_e exp(x[t, e]).   [T, E] → [T]</summary>
    public static Tensor LogSumExp(this Tape g, Tensor x)
    {
        Tensor y = g.New([x.Rows]);
        g.Backend.LogSumExp(x, y);
        g.Publish(y, x)?.Node = new Back(x, y);
        return y;
    }

    private sealed class Back(Tensor x, Tensor y) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.LogSumExpGrad(x, y, dy, g.Grad(x)!);
    }
}
