using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class OuterOp
{
    /// <summary>y[t, d] = onto[t, d] + a[t] · b[d].   a [T], b [D] → y [T, D]</summary>
    /// <param name="onto">[T, D], or null for zeros.</param>
    public static Tensor Outer(this Tape g, Tensor a, Tensor b, Tensor? onto = null)
    {
        Tensor y = g.NewFrom(onto, [(int)a.Count, (int)b.Count]);
        g.Backend.Outer(a, b, y);
        g.Publish(y, a, b, onto)?.Node = new Back(a, b, onto);
        return y;
    }

    private sealed class Back(Tensor a, Tensor b, Tensor? onto) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(a) is { } da)
                g.Backend.LinearGradInput(dy, b.View([(int)b.Count, 1]), da.View([(int)a.Count, 1]));   // da[t] += Σ_d dy[t, d] · b[d]
            if (g.Grad(b) is { } db)
                g.Backend.ColumnSum(dy, a, db);
            if (onto is not null && g.Grad(onto) is { } donto)
                g.Backend.Axpy(1, dy, donto);
        }
    }
}
