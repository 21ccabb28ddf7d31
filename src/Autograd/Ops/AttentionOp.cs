using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class AttentionOp
{
    /// <summary>
    /// softmax(q kᵀ · scale) v per head over packed sequences, fused: only the log of each row's denominator is saved
    /// (Dao et al., 2022). q [T, H·K], k and v [Tk, Hkv·K] → y [T, H·K]; <see cref="IBackend.Attention"/> has the details.
    /// </summary>
    public static Tensor Attention(this Tape g, Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, AttentionLayout layout)
    {
        Tensor y = g.New(q.Shape), lse = g.New([q.Rows, layout.Heads]);
        g.Backend.Attention(q, k, v, sequences, visible, layout, y, lse);
        g.Publish(y, q, k, v)?.Node = new Back(q, k, v, sequences, visible, layout, y, lse);
        return y;
    }

    private sealed class Back(
        Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, AttentionLayout layout, Tensor y, Tensor lse) : Node
    {
        public override void Backward(Tape g, Tensor dy) =>
            g.Backend.AttentionGrad(q, k, v, sequences, visible, layout, y, lse, dy, g.Grad(q), g.Grad(k), g.Grad(v));
    }
}
