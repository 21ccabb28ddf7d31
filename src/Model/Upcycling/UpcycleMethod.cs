using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>A way from a dense layer to a mixture. One file per way; what it decides is a pure <see cref="Division"/>.</summary>
public abstract class UpcycleMethod
{
    /// <summary>What the tool calls it.</summary>
    public abstract string Name { get; }

    /// <summary>Families whose checkpoints may have such layers, best first; moe_from_scratch, which has all, comes after them.</summary>
    public virtual IReadOnlyList<string> Families => [];

    /// <summary>The losses that go with its router, for training on.</summary>
    /// <param name="coefficient">Of the first of them; null for the usual one.</param>
    public abstract IReadOnlyList<RouterLoss> Losses(float? coefficient);

    /// <summary>Looks at the dense model on a text, where a way depends on what it does there.</summary>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public virtual void Prepare(DenseModel dense, Sample sample, CancellationToken stop = default)
    {
    }

    /// <summary>What becomes of a layer.</summary>
    /// <param name="added">Experts of other kinds that stand behind those that come from the layer.</param>
    /// <exception cref="ArgumentException">The layer cannot be divided in this way; the message says what would do.</exception>
    public abstract Division Divide(DenseModel dense, int layer, IReadOnlyList<AddedExperts> added);

    /// <summary>"3.experts.1": for receipts.</summary>
    protected static string Owner(int layer, string scope) => FormattableString.Invariant($"{layer}.{scope}");

    /// <summary>"experts.3": a routed network.</summary>
    protected static string Expert(int index) => FormattableString.Invariant($"experts.{index}");

    /// <summary>F / parts, where that is whole.</summary>
    protected static int Part(DenseModel dense, int layer, int parts, string option)
    {
        int width = dense.Width(layer);
        if (parts < 1 || width % parts != 0)
            throw new ArgumentException($"{option} {parts} does not divide the {width} neurons of layer {layer}; {Nearest(width, parts)} would");
        return width / parts;
    }

    /// <summary>Refuses more experts than a config may have, before any is planned.</summary>
    protected static void RequireCount(long experts, string option)
    {
        if (experts is < 1 or > ConfigJson.MaxExperts)
            throw new ArgumentException($"{option}: a mixture has 1 to {ConfigJson.MaxExperts} experts, not {experts}");
    }

    /// <summary>k, where there are as many experts to choose from.</summary>
    protected static int RequireTopK(int topK, int experts) => topK >= 1 && topK <= experts ? topK
        : throw new ArgumentException($"--top-k must lie between 1 and the number of experts {experts}, not be {topK}");

    /// <summary>The networks and the added experts as one mixture.</summary>
    /// <param name="banks">Of the networks.</param>
    /// <param name="width">Width of the added networks.</param>
    /// <param name="router">From the number of columns.</param>
    protected static Division Mixture(
        DenseModel dense, int layer, IReadOnlyList<ExpertBankConfig> banks, IReadOnlyList<Network> networks, IReadOnlyList<AddedExperts> added, int width,
        Func<int, RouterConfig> router)
    {
        List<Network> all = [.. networks];
        foreach (AddedExperts shared in added.Where(static a => a.Kind == AddedExperts.Shared))
            all.Add(shared.Network(layer, width, dense.Width(layer)));
        List<ExpertBankConfig> behind = [.. AddedExperts.InOrder(added).Select(a => a.Bank(width))];
        List<ExpertBankConfig> together = [.. banks, .. behind];
        return new Division(new MoeConfig(router(together.Sum(static b => b.Count)), together), all);
    }

    private static int Nearest(int width, int parts) =>
        Enumerable.Range(1, width).Where(n => width % n == 0).MinBy(n => Math.Abs((long)n - parts));
}
