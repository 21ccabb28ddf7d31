using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>
/// Three blocks that share their weights and keep three tensors each: the hidden state, which the next block reads, and a
/// gate's logits and probabilities, which only a side loss reads, as a router's do.
/// </summary>
internal sealed record Network(Tensor X, Tensor Gate, Tensor Up, Tensor Norm)
{
    private readonly record struct Kept(Tensor Hidden, Tensor Logits, Tensor Probs);

    /// <summary>The loss, a scalar.</summary>
    /// <param name="watch">Called in the middle of every block, on the way there, again when it is recomputed, and on the way back.</param>
    public Tensor Run(Tape g, Action? watch = null, bool nested = false)
    {
        Tensor h = X;
        Tensor? side = null;
        for (int i = 0; i < 3; i++)
        {
            Kept y = g.Block((net: this, h, watch: watch ?? (static () => { }), nested), static (g, s) => s.net.Layer(g, s.h, s.watch, s.nested));
            Tensor term = g.Add(g.SumOfSquares(y.Probs), g.RowSum(g.RowSum(g.Unary<Tanh>(y.Logits))));
            side = side is null ? term : g.Add(side, term);
            h = y.Hidden;
        }
        return g.Add(g.SumOfSquares(h), g.Scale(side!, 0.1f));
    }

    private Kept Layer(Tape g, Tensor x, Action watch, bool nested)
    {
        Tensor n = g.RmsNorm(x, Norm, 1e-5f);                                  // [T, D]
        Tensor logits = g.Linear(n, Gate), probs = g.Softmax(logits);          // [T, E]
        Tensor up = nested
            ? g.Block((net: this, n, watch), static (g, s) => g.Keep(s.net.Inner(g, s.n, s.watch)))
            : Inner(g, n, watch);
        Tensor y = g.Add(x, g.ScaleRows(up, g.LogSumExp(logits)));             // [T, D]
        return new Kept(g.Keep(y), g.Keep(logits), g.Keep(probs));
    }

    private Tensor Inner(Tape g, Tensor n, Action watch) => g.Unary<Silu>(g.Watched(g.Linear(n, Up), watch));
}
