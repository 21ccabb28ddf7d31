using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using static MoeFromScratch.Model.Families.RecordReading;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// The table of contents: what a model is made of, by the names that a <c>moe_from_scratch</c> config.json uses. A new router,
/// kind of expert or loss gets its line here, which reads it, and one in <see cref="ConfigRecords"/>, which writes it; its
/// settings are the properties of its record, in snake_case.
/// </summary>
internal static class MoeCatalog
{
    /// <summary>The kinds of each part.</summary>
    public static IReadOnlyDictionary<Type, Kind[]> Kinds { get; } = new Dictionary<Type, Kind[]>
    {
        [typeof(FeedForwardConfig)] = [Kind.Of("dense", Dense), Kind.Of("moe", Mixture)],
        [typeof(RouterConfig)] =
        [
            Kind.Of("top_k", static j => new TopKRouterConfig(j.Whole("top_k"), j.Bool("renormalize", true))),
            Kind.Of("top_p", static j => new TopPRouterConfig(j.Number("top_p"), j.Whole("max_experts_per_token", 0), j.Bool("renormalize", false))
            {
                Strict = j.Bool("strict", true),
                MinP = j.Number("min_p", 0),
            }),
            Kind.Of("moe_plus_plus", static j => new MoePlusPlusRouterConfig(j.Whole("top_k", 2), j.Word("gating", MoePlusPlusGating.Raw))
            {
                LogitsStd = j.Number("logits_std", 0),
                Capacity = Capacity(j),
            }),
            Kind.Of("dcmoe", static j => new DcMoeRouterConfig(j.Number("top_p"), j.Whole("top_k", 0))
            {
                Jitter = j.Number("jitter", 0.01f),
                InputJitter = j.Number("input_jitter", 0),
                Capacity = Capacity(j),
            }),
            Kind.Of("noisy_top_k", static j => new NoisyTopKRouterConfig(j.Whole("top_k"), j.Number("scale", 1), j.Number("noise_epsilon", 0.01f))
            {
                LoadRule = j.Word("load_rule", LoadRule.NoisyLogit),
            }),
            Kind.Of("sparse_mixer", static j => new SparseMixerRouterConfig(j.Number("jitter"))),
            Kind.Of("switch", static j => new SwitchRouterConfig(j.Whole("top_k", 1))
            {
                Capacity = Capacity(j),
                PassDropped = j.Bool("pass_dropped", false),
                InputJitter = j.Number("input_jitter", 0),
                LogitJitter = j.Number("logit_jitter", 0),
                LogitNoise = j.Number("logit_noise", 0),
            }),
            Kind.Of("expert_choice", static j => new ExpertChoiceRouterConfig(j.Number("factor", 2))),
            Kind.Of("base", static _ => new BaseRouterConfig()),
            Kind.Of("grouped_top_k", static j => new GroupedTopKRouterConfig(j.Whole("top_k"))
            {
                Scores = j.Word("scores", RouterScores.Softmax),
                SelectionBias = j.Bool("selection_bias", false),
                Groups = j.Whole("groups", 1),
                TopGroups = j.Whole("top_groups", 1),
                GroupBest = j.Whole("group_best", 1),
                Renormalize = j.Bool("renormalize", false),
                Scale = j.Number("scale", 1),
            }),
            Kind.Of("task", static j => new TaskRouterConfig(j.Whole("tasks"), j.Whole("top_k", 2), j.Bool("renormalize", true))),
            Kind.Of("fixed", static _ => new FixedRouterConfig()),
        ],
        [typeof(ExpertBankConfig)] =
        [
            Kind.Of("ffn", static j => new FfnExpertsConfig(j.Whole("count"), j.Whole("intermediate_size"))
            {
                Fused = j.Bool("fused", false),
                Stacked = j.Bool("stacked", false),
                Shared = j.Bool("shared", false),
            }),
            Kind.Of("zero", static j => new ZeroExpertsConfig(j.Whole("count"))),
            Kind.Of("copy", static j => new CopyExpertsConfig(j.Whole("count"))),
            Kind.Of("constant", static j => new ConstantExpertsConfig(j.Whole("count"))),
            Kind.Of("shared", static j => new SharedExpertConfig(j.Whole("intermediate_size"), j.Bool("gated")) { Count = j.Whole("count", 0) }),
            Kind.Of("mlp", static j => new MlpExpertsConfig(j.Whole("count"), j.Whole("intermediate_size"), j.Word("activation", Activation.Relu))),
            Kind.Of("clamped", static j => new ClampedExpertsConfig(j.Whole("count"), j.Whole("intermediate_size"))),
            Kind.Of("twice_gated", static j => new TwiceGatedExpertsConfig(j.Whole("count"), j.Whole("intermediate_size"))),
        ],
        [typeof(RopeScaling)] =
        [
            Kind.Of("linear", static j => new LinearRopeScaling(j.Number("factor"))),
            Kind.Of("llama3", static j => new Llama3RopeScaling(
                j.Number("factor"), j.Number("low_frequency_factor"), j.Number("high_frequency_factor"), j.Whole("original_max_positions"))),
            Kind.Of("yarn", static j => new YarnRopeScaling(
                j.Number("factor"), j.Whole("original_max_positions"), j.Number("beta_fast"), j.Number("beta_slow"),
                j.Number("attention_factor"), j.Bool("truncate", true))
            {
                MscaleAllDim = j.Number("mscale_all_dim", 0),
            }),
            Kind.Of("longrope", TwoLengths),
            Kind.Of("pairwise", Factors),
        ],
        [typeof(RouterLoss)] =
        [
            Kind.Of("load_balance", static j => new LoadBalanceLoss(j.Number("coefficient"), j.Word("scope", BalanceScope.Layer))
            {
                PerChoice = j.Bool("per_choice", false),
                DroppedCountForFirst = j.Bool("dropped_count_for_first", false),
                PaddingCounts = j.Bool("padding_counts", false),
            }),
            Kind.Of("router_z", static j => new RouterZLoss(j.Number("coefficient")) { PaddingCounts = j.Bool("padding_counts", false) }),
            Kind.Of("router_entropy", static j => new RouterEntropyLoss(j.Number("coefficient"))),
            Kind.Of("heterogeneous_balance", static j => new HeterogeneousBalanceLoss(j.Number("coefficient"), j.Number("tau"))),
            Kind.Of("dcmoe_balance", static j => new DcMoeBalanceLoss(j.Number("coefficient"))),
            Kind.Of("importance_load", static j => new ImportanceLoadLoss(j.Number("weight")) { Coefficient = j.Number("coefficient", 1) }),
        ],
    };
}

/// <summary>One kind of a part of a model.</summary>
/// <param name="Name">At the key <c>type</c>.</param>
/// <param name="Read">Makes the record of an object's other keys.</param>
internal sealed record Kind(string Name, Type Record, Func<ConfigJson, object> Read)
{
    public static Kind Of<T>(string name, Func<ConfigJson, T> read) where T : class => new(name, typeof(T), read);
}
