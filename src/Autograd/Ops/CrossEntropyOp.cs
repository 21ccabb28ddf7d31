using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Ops;

public static class CrossEntropyOp
{
    /// <summary>
    /// y[t] = −ln softmax(logits[t])[label[t]], 0 where the label is negative.   logits [T, V], labels [T] I32 → y [T].
    /// The mean is the caller's: a dot product with 1 / count, so that the window's token count can be anything.
    /// </summary>
    public static Tensor CrossEntropy(this Tape g, Tensor logits, Tensor labels)
    {
        Tensor y = g.New([logits.Rows]), lse = g.New([logits.Rows]);
        g.Backend.CrossEntropy(logits, labels, y, lse);
        g.Publish(y, logits)?.Node = new Back(logits, labels, lse);
        return y;
    }

    private sealed class Back(Tensor logits, Tensor labels, Tensor lse) : Node
    {
        public override void Backward(Tape g, Tensor dy) =>
            g.Backend.CrossEntropyGrad(logits, labels, lse, dy, g.Grad(logits)!);
    }
}
