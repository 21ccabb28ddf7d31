using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class GatherRowsOp
{
    /// <summary>
    /// y[s] = x[index[s]]: the embedding's look-up and the experts' dispatch.   x [T, D], index [S] → y [S, D]; with a range, only its slots.
    /// </summary>
    public static Tensor GatherRows(this Tape g, Tensor x, Tensor index, SlotRange range = default)
    {
        Tensor y = g.New([(int)index.Count, x.Cols]);
        g.Backend.GatherRows(x, index, range, y);
        g.Publish(y, x)?.Node = new Back(x, index, range);
        return y;
    }

    private sealed class Back(Tensor x, Tensor index, SlotRange range) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.ScatterAddRows(dy, index, range, g.Grad(x)!);
    }
}
