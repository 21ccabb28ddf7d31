using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class AttentionOp
{
    /// <summary>
    /// softmax(q kᵀ · scale) v per head over packed sequences, fused: only the log of each row's denominator is saved
    /// (Dao et al., 2022). q [T, H·K], k [Tk, Hkv·K], v [Tk, Hkv·Kv], sinks [H] → y [T, H·Kv]; <see cref="IBackend.Attention"/>
    /// has the details.
    /// </summary>
    public static Tensor Attention(this Tape g, Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, AttentionLayout layout,
        Tensor? sinks = null)
    {
        Tensor y = g.New([q.Rows, layout.Heads * layout.ValueDim]), lse = g.New([q.Rows, layout.Heads]);
        g.Backend.Attention(q, k, v, sequences, visible, sinks, layout, y, lse);
        g.Publish(y, q, k, v, sinks)?.Node = new Back(q, k, v, sequences, visible, sinks, layout, y, lse);
        return y;
    }

    private sealed class Back(
        Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, AttentionLayout layout, Tensor y, Tensor lse) : Node
    {
        public override void Backward(Tape g, Tensor dy) => g.Backend.AttentionGrad(q, k, v, sequences, visible, sinks, layout, y, lse, dy,
            g.Grad(q), g.Grad(k), g.Grad(v), sinks is null ? null : g.Grad(sinks));
    }
}
