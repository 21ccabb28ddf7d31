using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class ColumnsOp
{
    /// <summary>
    /// y = onto, with y[t, h·Ky + to + j] += x[t, h·Kx + from + j] for every head h and every j &lt; width; one head of x is spread over
    /// all heads of y, one head of y takes the sum over those of x.   x [T, Hx·Kx] → y [T, Hy·Ky]
    /// </summary>
    /// <param name="onto">[T, Hy·Ky], or null for zeros.</param>
    public static Tensor Columns(this Tape g, Tensor x, HeadColumns from, HeadColumns to, int width, Tensor? onto = null)
    {
        Tensor y = g.NewFrom(onto, [x.Rows, to.Heads * to.HeadDim]);
        g.Backend.AddColumns(x, from, to, width, y);
        g.Publish(y, x, onto)?.Node = new Back(x, from, to, width, onto);
        return y;
    }

    private sealed class Back(Tensor x, HeadColumns from, HeadColumns to, int width, Tensor? onto) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            if (g.Grad(x) is { } dx)
                g.Backend.AddColumns(dy, to, from, width, dx);
            if (onto is not null && g.Grad(onto) is { } donto)
                g.Backend.Axpy(1, dy, donto);
        }
    }
}
