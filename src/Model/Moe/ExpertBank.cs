using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>
/// A run of consecutive experts that compute the same way. A router's rows follow the order of the banks, so no expert's
/// index is special to anybody but its bank.
/// </summary>
/// <param name="config">What it was built from.</param>
/// <param name="first">Index of its first expert in the layer.</param>
public abstract class ExpertBank(ExpertBankConfig config, int first)
{
    public int First => first;
    public int Count => config.Count;

    /// <inheritdoc cref="ExpertBankConfig.IsFfn"/>
    public bool IsFfn => config.IsFfn;

    /// <inheritdoc cref="ExpertBankConfig.IsShared"/>
    public bool IsShared => config.IsShared;

    /// <summary>Adds what its experts give for their slots to <paramref name="onto"/> [T, D], or to zeros.</summary>
    /// <param name="x">[T, D]</param>
    public abstract Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto);

    /// <summary>The slots of this bank's experts.</summary>
    protected SlotRange Slots(in Routing r) => new(r.Offsets, first, Count);

    /// <summary>[T, 1] what the router gives to some of this bank's experts together: for experts that need no list of slots.</summary>
    /// <param name="from">The first of them, counted in the bank.</param>
    protected Tensor WeightOf(Tape g, in Routing r, int from, int count)
    {
        const int Small = 1024;
        Span<float> pick = r.NumExperts <= Small ? stackalloc float[r.NumExperts] : new float[r.NumExperts];
        pick.Clear();
        pick.Slice(first + from, count).Fill(1);
        return g.Linear(r.Weights, g.Constant<float>([1, pick.Length], DType.F32, pick));
    }
}

/// <summary>A bank's settings; knows how to build it, so a new kind of expert is one new file.</summary>
/// <param name="Count">How many experts.</param>
public abstract record ExpertBankConfig(int Count)
{
    /// <summary>Whether its experts are feed-forward networks that the router chooses from, the ones that a token's compute is counted in.</summary>
    public virtual bool IsFfn => false;

    /// <summary>Whether its experts run for every token: they have weights, but nobody chose them.</summary>
    public virtual bool IsShared => false;

    /// <summary>Whether its experts lie in the same tensors, one behind the other, under <c>experts</c>.</summary>
    public virtual bool IsStacked => false;

    /// <summary>Each expert's matrix of a tensor [E, rows, cols] that holds all of them.</summary>
    protected Tensor[] Matrices(Tensor all, int rows, int cols) =>
        [.. Enumerable.Range(0, Count).Select(e => all.Part([rows, cols], (long)e * rows * cols))];

    /// <param name="w">The layer's scope; experts live under <c>experts.{e}</c>.</param>
    public abstract ExpertBank Build(ModelConfig model, WeightScope w, int first);
}
