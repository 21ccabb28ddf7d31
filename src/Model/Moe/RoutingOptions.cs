using System.Globalization;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Moe;

/// <summary>
/// Another routing for one run: how many experts a token gets, without touching the checkpoint. Each list has one value for
/// all mixture layers or one per mixture layer; empty leaves that choice as it is. The rule for the weights stays the
/// checkpoint's own: what it renormalises is renormalised over the new choice.
/// </summary>
/// <param name="TopP">Top-P's threshold.</param>
/// <param name="TopK">A fixed number of experts.</param>
/// <param name="MaxExperts">A limit to Top-P.</param>
public sealed record RoutingOptions(IReadOnlyList<float> TopP, IReadOnlyList<int> TopK, IReadOnlyList<int> MaxExperts)
{
    /// <summary>Whether it leaves every choice as it is.</summary>
    public bool IsEmpty => TopP.Count + TopK.Count + MaxExperts.Count == 0;

    /// <summary>The model with these routers.</summary>
    /// <exception cref="ArgumentException">Both top-p and top-k, a limit without top-p, values out of range, not one per layer, or a model without routers.</exception>
    public ModelConfig Apply(ModelConfig model)
    {
        foreach (float p in TopP)
            if (!(p is > 0 and <= 1))
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--router-top-p must be above 0 and at most 1, not {p}"));
        foreach (int limit in MaxExperts)
            if (limit < 1)
                throw new ArgumentException($"--router-max-experts must be at least 1, not {limit}");
        if (TopP.Count > 0 && TopK.Count > 0)
            throw new ArgumentException("a router goes by top-p or by top-k, not by both");
        int layers = model.Layers.Count(static l => l is MoeConfig), at = 0;
        if (IsEmpty)
            return model;
        if (layers == 0)
            throw new ArgumentException("the model is dense: it has no router whose top-p, top-k or max-experts could change");
        return model with
        {
            Layers = [.. model.Layers.Select(layer => layer is MoeConfig moe ? moe with { Router = Router(moe, at++, layers) } : layer)],
        };
    }

    /// <summary>A layer's number of experts, if it is to change.</summary>
    private int? ForTopK(MoeConfig moe, int layer, int layers)
    {
        int all = moe.Banks.Where(static b => !b.IsShared).Sum(static b => b.Count);
        int? wanted = At(TopK, layer, layers, "top-k");
        return wanted is null || (wanted >= 1 && wanted <= all) ? wanted
            : throw new ArgumentException($"--router-top-k must lie between 1 and the number of experts {all}, not be {wanted}");
    }

    private RouterConfig Router(MoeConfig moe, int layer, int layers)
    {
        if (moe.Router is DcMoeRouterConfig dcMoe && MaxExperts.Count == 0)
            return ForTopK(moe, layer, layers) is { } k ? dcMoe with { TopP = 0, TopK = k } : dcMoe with { TopP = At(TopP, layer, layers, "top-p") ?? dcMoe.TopP };
        if (moe.Router is MoePlusPlusRouterConfig plusPlus && TopP.Count + MaxExperts.Count == 0)
            return plusPlus with { TopK = ForTopK(moe, layer, layers) ?? plusPlus.TopK };
        if (moe.Router is GroupedTopKRouterConfig grouped && TopP.Count + MaxExperts.Count == 0)
            return grouped with { TopK = ForTopK(moe, layer, layers) ?? grouped.TopK };
        if (moe.Router is SwitchRouterConfig choice && TopP.Count + MaxExperts.Count == 0)
            return choice with { TopK = ForTopK(moe, layer, layers) ?? choice.TopK };
        (bool renormalize, float? oldTopP, int oldLimit) = moe.Router switch
        {
            TopKRouterConfig k => (k.Renormalize, null, 0),
            TopPRouterConfig p => (p.Renormalize, (float?)p.TopP, p.MaxExpertsPerToken),
            _ => throw new ArgumentException($"the choice of {English.A(moe.Router.GetType().Name)} cannot be changed in this way"),
        };
        if (ForTopK(moe, layer, layers) is { } topK)
            return MaxExperts.Count == 0 ? new TopKRouterConfig(topK, renormalize) { Gate = moe.Router.Gate } : throw new ArgumentException("a limit of experts goes with top-p");
        float topP = At(TopP, layer, layers, "top-p") ?? oldTopP ?? throw new ArgumentException("a limit of experts goes with top-p; this model's routers go by top-k");
        TopPRouterConfig rule = moe.Router as TopPRouterConfig ?? new TopPRouterConfig(topP, 0, renormalize) { Gate = moe.Router.Gate };
        RouterConfig changed = rule with { TopP = topP, MaxExpertsPerToken = At(MaxExperts, layer, layers, "max-experts") ?? oldLimit };
        return changed;
    }

    private static T? At<T>(IReadOnlyList<T> values, int layer, int layers, string what) where T : struct => values.Count switch
    {
        0 => null,
        1 => values[0],
        var count when count == layers => values[layer],
        var count => throw new ArgumentException($"{what} takes one value, or one for each of the {layers} mixture layers, not {count}"),
    };
}
