using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Moe;

/// <summary>
/// A run of consecutive experts that compute the same way. A router's rows follow the order of the banks, so no expert's
/// index is special to anybody but its bank.
/// </summary>
/// <param name="first">Index of its first expert in the layer.</param>
/// <param name="count">How many experts it holds.</param>
public abstract class ExpertBank(int first, int count)
{
    public int First => first;
    public int Count => count;

    /// <summary>Whether its experts are feed-forward networks, the ones that a token's compute is counted in.</summary>
    public abstract bool IsFfn { get; }

    /// <summary>Adds what its experts give for their slots to <paramref name="onto"/> [T, D], or to zeros.</summary>
    /// <param name="x">[T, D]</param>
    public abstract Tensor Apply(Tape g, Tensor x, in Routing r, Tensor? onto);

    /// <summary>The slots of this bank's experts.</summary>
    protected SlotRange Slots(in Routing r) => new(r.Offsets, first, count);
}

/// <summary>A bank's settings; knows how to build it, so a new kind of expert is one new file.</summary>
/// <param name="Count">How many experts.</param>
public abstract record ExpertBankConfig(int Count)
{
    /// <param name="w">The layer's scope; experts live under <c>experts.{e}</c>.</param>
    public abstract ExpertBank Build(ModelConfig model, WeightScope w, int first);
}
