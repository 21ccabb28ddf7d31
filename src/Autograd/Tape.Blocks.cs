using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd;

/// <remarks>This half: what a block of the model keeps, frees and computes again.</remarks>
public sealed partial class Tape
{
    /// <summary>
    /// Runs one block of the model. In inference its scratch is freed when it ends; in training it is kept, or, with
    /// checkpointing, freed and computed again on the way back. What leaves the block passes through <see cref="Keep"/>.
    /// </summary>
    /// <param name="state">What the body needs; passing it here keeps the lambda static and the call free of allocations.</param>
    /// <param name="body">Must do the same thing when it is run a second time.</param>
    public TResult Block<TState, TResult>(TState state, Func<Tape, TState, TResult> body)
    {
        if ((_records && !_checkpoints) || _keepsAll)
            return body(this, state);

        bool records = _records;
        _records = false;
        int mark = _owned.Count;
        TResult result;
        try
        {
            result = body(this, state);
        }
        finally
        {
            _records = records;   // else a block that throws would leave a tape that records nothing more
        }

        List<Tensor>? outputs = _records ? Kept(mark) : null;
        FreeScratch(mark);
        if (outputs?.Find(static t => t.RequiresGrad) is { } any)
            _entries.Add(new Entry(any) { Node = new Checkpoint<TState, TResult>(state, body, outputs) });
        return result;
    }

    /// <summary>Promises that <paramref name="x"/> outlives the block it was made in.</summary>
    public Tensor Keep(Tensor x)
    {
        x.IsKept = true;
        return x;
    }

    /// <summary>In inference, frees a tensor whose last reader has run; in training does nothing.</summary>
    public void FreeEarly(Tensor x)
    {
        int i = _tracks || _keepsAll ? -1 : _owned.LastIndexOf(x);
        if (i < 0)
            return;
        _owned[i] = null;   // a hole, so that running blocks still know where theirs begin
        Recycle(x);
    }

    /// <summary>What was made since <paramref name="mark"/> and is to leave its block.</summary>
    private List<Tensor> Kept(int mark)
    {
        List<Tensor> kept = [];
        for (int i = mark; i < _owned.Count; i++)
            if (_owned[i] is { IsKept: true } t)
                kept.Add(t);
        return kept;
    }

    /// <summary>Frees what was made since <paramref name="mark"/> and not kept; the kept ones lose their mark and stay.</summary>
    private void FreeScratch(int mark)
    {
        int end = mark;
        for (int i = mark; i < _owned.Count; i++)
        {
            Tensor? t = _owned[i];
            if (t is { IsKept: true })
            {
                t.IsKept = false;
                _owned[end++] = t;
            }
            else if (t is not null)
                Recycle(t);
        }
        _owned.RemoveRange(end, _owned.Count - end);
    }

    /// <summary>A block whose inside was forgotten.</summary>
    private abstract class Checkpoint : Node
    {
        public override void Backward(Tape g, Tensor dy) => Recompute(g);

        public abstract void Recompute(Tape g);
    }

    private sealed class Checkpoint<TState, TResult>(TState state, Func<Tape, TState, TResult> body, List<Tensor> outputs) : Checkpoint
    {
        public override void Recompute(Tape g)
        {
            if (!outputs.Exists(static t => t.Grad is not null))
                return;
            int mark = g._owned.Count, entries = g._entries.Count;
            body(g, state);
            List<Tensor> again = g.Kept(mark);
            for (int i = 0; i < outputs.Count; i++)
            {
                // The fresh output takes over the gradient that the forgotten one collected.
                if (outputs[i].Grad is not { } dy)
                    continue;
                g.Backend.Axpy(1, dy, g.Grad(again[i])!);
                g.FreeGrad(outputs[i]);
            }
            g.Replay(entries);
            foreach (Tensor t in again)
                t.IsKept = false;
            g.FreeScratch(mark);
        }
    }
}
