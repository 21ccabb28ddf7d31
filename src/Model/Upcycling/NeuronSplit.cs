using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>The router of a split.</summary>
/// <param name="Scale">Factor on its weights, which sum to 1; null for the one that makes up for the neurons that do not run, see <see cref="NeuronSplit"/>.</param>
/// <param name="TwoMatrices">Whether its gate has two, as LLaMA-MoE's.</param>
public sealed record SplitRouter(int TopK, float? Scale, bool TwoMatrices);

/// <summary>
/// LLaMA-MoE's way (Zhu et al., 2024, arXiv 2406.16554): each expert takes some neurons of the dense layer. With as many of them as the
/// layer has, each in one expert, and a router that finds all experts alike and takes all, the weights 1/E times a scale of E give the
/// dense layer. Where experts overlap or leave neurons out, the scale is E / (how many experts a neuron is in, on average).
/// </summary>
public abstract class NeuronSplit(SplitRouter router) : UpcycleMethod
{
    public override IReadOnlyList<string> Families => ["llama-moe"];
    public override IReadOnlyList<RouterLoss> Losses(float? coefficient) => [new ImportanceLoadLoss(coefficient ?? 0.01f)];

    /// <summary>The neurons of each expert.</summary>
    protected abstract IReadOnlyList<int[]> Lists(DenseModel dense, int layer);

    /// <summary>Neurons of a network that runs for every token, beside the experts; none by default.</summary>
    protected virtual int[] Always(DenseModel dense, int layer) => [];

    /// <summary>How many experts a neuron is in, on average over those that are to divide.</summary>
    protected virtual double MeanCount(DenseModel dense, int layer, IReadOnlyList<int[]> lists, int neurons) => (double)lists.Sum(static l => l.Length) / neurons;

    public override Division Divide(DenseModel dense, int layer, IReadOnlyList<AddedExperts> added)
    {
        IReadOnlyList<int[]> lists = Lists(dense, layer);
        int[] always = Always(dense, layer);
        List<Network> networks = [.. lists.Select((list, e) => new Network(Expert(e), new Neurons(Owner(layer, Expert(e)), list)))];
        List<ExpertBankConfig> banks = [.. LlamaMoe.Runs([.. lists.Select(static l => l.Length)])];
        float scale = router.Scale ?? (float)(lists.Count / MeanCount(dense, layer, lists, dense.Width(layer) - always.Length));
        Division all = Mixture(dense, layer, banks, networks, added, lists[0].Length, columns => new NoisyTopKRouterConfig(RequireTopK(router.TopK, columns), scale)
        {
            LoadRule = LoadRule.NoiseAlone,
            Gate = new GateConfig { HiddenSize = router.TwoMatrices ? columns : 0 },
        });
        return always.Length == 0 ? all : WithAlways(all, layer, always);
    }

    private static Division WithAlways(Division all, int layer, int[] neurons) => all.Mixture.Banks.Any(static b => b is Moe.Experts.SharedExpertConfig)
        ? throw new ArgumentException("--shared-neurons makes a shared expert, and there is one at most: leave out --add shared")
        : new Division(all.Mixture with { Banks = [.. all.Mixture.Banks, new Moe.Experts.SharedExpertConfig(neurons.Length, Gated: false)] },
            [.. all.Networks, new Network("shared_expert", new Neurons(Owner(layer, "shared_expert"), neurons))]);

    /// <summary>Each expert's neurons in rising order, from the expert of each neuron.</summary>
    protected static int[][] ByLabel(ReadOnlySpan<int> labels, int experts)
    {
        List<int>[] lists = [.. Enumerable.Range(0, experts).Select(static _ => new List<int>())];
        for (int i = 0; i < labels.Length; i++)
            lists[labels[i]].Add(i);
        return [.. lists.Select(static l => l.ToArray())];
    }
}
