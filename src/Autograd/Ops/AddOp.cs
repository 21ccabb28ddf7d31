using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class AddOp
{
    /// <summary>y = a + b</summary>
    public static Tensor Add(this Tape g, Tensor a, Tensor b)
    {
        Tensor y = g.New(a.Shape);
        g.Backend.Add(a, b, y);
        g.Publish(y, a, b)?.Node = new Back(a, b);
        return y;
    }

    private sealed class Back(Tensor a, Tensor b) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(a) is { } da)
                g.Backend.Axpy(1, dy, da);
            if (g.Grad(b) is { } db)
                g.Backend.Axpy(1, dy, db);
        }
    }
}
