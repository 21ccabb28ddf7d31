using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class LayerNormOp
{
    /// <summary>
    /// y = (x − mean x) / √(var x + eps) · w + b: the RMSNorm of the centred rows, plus a bias.   x [T, D], w and b [D] → y [T, D]
    /// (Ba et al., 2016)
    /// </summary>
    public static Tensor LayerNorm(this Tape g, Tensor x, Tensor w, Tensor b, float eps)
    {
        Tensor y = g.New(x.Shape), r = g.New([x.Rows]), centred = g.New(x.Shape);
        g.Backend.Fill(centred, 0);
        AddCentred(g, x, centred);
        g.Backend.RmsNorm(centred, w, eps, y, r);
        g.Backend.Outer(null, b, y);
        g.Publish(y, x, w, b)?.Node = new Back(x, w, b, centred, r);
        return y;
    }

    /// <summary>y += x − mean x, row by row: its own way back.</summary>
    private static void AddCentred(Tape g, Tensor x, Tensor y)
    {
        Tensor sum = g.NewZeros([x.Rows]), minus = g.NewZeros([x.Rows]);
        g.Backend.RowDot(x, null, sum);
        g.Backend.Axpy(-1f / x.Cols, sum, minus);
        g.Backend.Axpy(1, x, y);
        g.Backend.Outer(minus, null, y);
    }

    private sealed class Back(Tensor x, Tensor w, Tensor b, Tensor centred, Tensor r) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            Tensor? dx = g.Grad(x), dcentred = dx is null ? null : g.NewZeros(x.Shape);
            g.Backend.RmsNormGrad(centred, w, r, dy, dcentred, g.Grad(w));
            if (dx is not null)
                AddCentred(g, dcentred!, dx);
            if (g.Grad(b) is { } db)
                g.Backend.ColumnSum(dy, null, db);
        }
    }
}
