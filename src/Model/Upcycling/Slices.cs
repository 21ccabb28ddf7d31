using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>Which experts of <see cref="Slices"/> take neurons of the dense layer.</summary>
public enum SliceCopies
{
    All,
    /// <summary>The first routed one and the first shared one.</summary>
    Single,
    None,
}

/// <summary>
/// DCMoE's initialisation (Uni-MoE 2, Li et al., 2025, arXiv 2511.12609): routed expert e takes the neurons from (e · width) mod F on,
/// slice after slice and from the start again; each shared expert the first ones. Gate, up and down of an expert take the same
/// neurons: the released code, with experts spread over devices, starts the down projection at 0 whatever the others start at.
/// </summary>
/// <param name="dynamicFactor">A routed expert has 1 / this of the layer's neurons.</param>
/// <param name="fixedFactor">The same of a shared one.</param>
/// <param name="topP">The router's p.</param>
/// <param name="topK">A number instead, with p 0.</param>
/// <param name="copies">Which experts take neurons; the others are drawn.</param>
public sealed class Slices(int experts, int dynamicFactor, int fixedFactor, float topP, int topK, SliceCopies copies) : UpcycleMethod
{
    /// <summary>The experts' room; null drops nothing.</summary>
    public CapacityConfig? Capacity { get; init; }

    public override string Name => "slices";
    public override IReadOnlyList<string> Families => ["uni-moe-2"];
    public override IReadOnlyList<RouterLoss> Losses(float? coefficient) => [new DcMoeBalanceLoss(coefficient ?? 0.025f)];

    public override Division Divide(DenseModel dense, int layer, IReadOnlyList<AddedExperts> added)
    {
        int all = dense.Width(layer), width = Width(all, dynamicFactor, "--dynamic_mlp_size_factor"), first = 0;
        RequireCount(experts, "--experts");
        List<Network> networks = [];
        for (int e = 0; e < experts; e++, first = (first + width) % all)
        {
            if (!Copied(e))
                continue;
            if (first + width > all)
                throw new ArgumentException($"--dynamic_mlp_size_factor {dynamicFactor}: slices of {width} do not end at the {all} neurons of layer {layer}, "
                    + $"expert {e} would begin at {first}; take a factor that divides, or at most {e} experts");
            networks.Add(new Network(Expert(e), Neurons.Run(Owner(layer, Expert(e)), first, width)));
        }
        List<ExpertBankConfig> banks = [];
        int shared = added.Where(static a => a.Kind == AddedExperts.Shared).Sum(static a => a.Count);
        if (shared > 0)
        {
            int sharedWidth = Width(all, fixedFactor, "--fixed_mlp_size_factor");
            banks.Add(new FfnExpertsConfig(shared, sharedWidth) { Shared = true });
            for (int e = 0; e < shared; e++)
                if (Copied(e) && FormattableString.Invariant($"shared_experts.{e}") is var scope)
                    networks.Add(new Network(scope, Neurons.Run(Owner(layer, scope), 0, sharedWidth)));
        }
        Division routed = Mixture(dense, layer, [new FfnExpertsConfig(experts, width)], networks,
            [.. added.Where(static a => a.Kind != AddedExperts.Shared)], width,
            columns => new DcMoeRouterConfig(topP, topP == 0 ? RequireTopK(topK, columns) : 0) { InputJitter = 0.01f, Capacity = Capacity });
        return routed with { Mixture = routed.Mixture with { Banks = [.. routed.Mixture.Banks, .. banks] } };
    }

    private bool Copied(int expert) => copies == SliceCopies.All || (copies == SliceCopies.Single && expert == 0);

    /// <summary>Integer division, as in the reference: with few experts the last neurons may stay unused.</summary>
    private static int Width(int neurons, int factor, string option) => factor >= 1 && factor <= neurons ? neurons / factor
        : throw new ArgumentException($"{option} lies between 1 and the {neurons} neurons of a layer, it is not {factor}");
}
