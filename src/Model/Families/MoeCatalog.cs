using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// The table of contents: what a model is made of, by the names that a <c>moe_from_scratch</c> config.json uses. A new router,
/// kind of expert or loss gets its line here and one in <see cref="ConfigRecords"/>; its settings are the properties of its record, in snake_case.
/// </summary>
public static class MoeCatalog
{
    private static readonly Dictionary<Type, (string Name, Type Record)[]> Kinds = new()
    {
        [typeof(FeedForwardConfig)] = [("dense", typeof(DenseConfig)), ("moe", typeof(MoeConfig))],
        [typeof(RouterConfig)] =
        [
            ("top_k", typeof(TopKRouterConfig)), ("top_p", typeof(TopPRouterConfig)), ("moe_plus_plus", typeof(MoePlusPlusRouterConfig)),
            ("dcmoe", typeof(DcMoeRouterConfig)), ("noisy_top_k", typeof(NoisyTopKRouterConfig)), ("sparse_mixer", typeof(SparseMixerRouterConfig)),
            ("switch", typeof(SwitchRouterConfig)), ("expert_choice", typeof(ExpertChoiceRouterConfig)), ("base", typeof(BaseRouterConfig)),
            ("grouped_top_k", typeof(GroupedTopKRouterConfig)), ("task", typeof(TaskRouterConfig)), ("fixed", typeof(FixedRouterConfig)),
        ],
        [typeof(ExpertBankConfig)] =
        [
            ("ffn", typeof(FfnExpertsConfig)), ("zero", typeof(ZeroExpertsConfig)), ("copy", typeof(CopyExpertsConfig)),
            ("constant", typeof(ConstantExpertsConfig)), ("shared", typeof(SharedExpertConfig)), ("mlp", typeof(MlpExpertsConfig)),
            ("clamped", typeof(ClampedExpertsConfig)), ("twice_gated", typeof(TwiceGatedExpertsConfig)),
        ],
        [typeof(RopeScaling)] =
        [
            ("linear", typeof(LinearRopeScaling)), ("llama3", typeof(Llama3RopeScaling)), ("yarn", typeof(YarnRopeScaling)), ("longrope", typeof(LongRopeScaling)),
            ("pairwise", typeof(PairwiseRopeScaling)),
        ],
        [typeof(RouterLoss)] =
        [
            ("load_balance", typeof(LoadBalanceLoss)), ("router_z", typeof(RouterZLoss)), ("router_entropy", typeof(RouterEntropyLoss)),
            ("heterogeneous_balance", typeof(HeterogeneousBalanceLoss)), ("dcmoe_balance", typeof(DcMoeBalanceLoss)),
            ("importance_load", typeof(ImportanceLoadLoss)),
        ],
    };

    /// <summary>All names, for messages.</summary>
    public static string Names => string.Join("; ", Kinds.Values.Select(static kinds => string.Join(", ", kinds.Select(static k => k.Name))));

    /// <summary>How records are written and read: every property by name, unknown and missing ones refused.</summary>
    public static JsonSerializerOptions Json { get; } = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters =
        {
            Words<QkNorm>(), Words<MoePlusPlusGating>(), Words<RouterScores>(), Words<LoadRule>(), Words<Activation>(), Words<DropPolicy>(),
            Words<RoomRounding>(), Words<BalanceScope>(),
        },
        IgnoreReadOnlyProperties = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        AllowOutOfOrderMetadataProperties = true,
        TypeInfoResolver = ConfigRecords.Default.WithAddedModifier(AddKinds),
    };

    /// <summary>A model from JSON; null where that is null.</summary>
    /// <exception cref="JsonException">A property is missing, unknown or of another kind.</exception>
    public static ModelConfig? Read(JsonObject json)
    {
        JsonTypeInfo<ModelConfig> model = Info<ModelConfig>();
        InitialValues.Add(json, model);
        return json.Deserialize(model);
    }

    public static JsonObject Write(ModelConfig config) => JsonSerializer.SerializeToNode(config, Info<ModelConfig>())!.AsObject();

    /// <summary>A loss with all its settings, on one line; by its type's name where the catalog has none.</summary>
    public static string Describe(RouterLoss loss) => Array.Exists(Kinds[typeof(RouterLoss)], k => k.Record == loss.GetType())
        ? JsonSerializer.Serialize(loss, Info<RouterLoss>())
        : FormattableString.Invariant($"{loss.GetType().Name} {loss.Coefficient}");

    private static JsonTypeInfo<T> Info<T>() => (JsonTypeInfo<T>)Json.GetTypeInfo(typeof(T));

    private static JsonStringEnumConverter<T> Words<T>() where T : struct, Enum => new(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false);

    private static void AddKinds(JsonTypeInfo info)
    {
        if (!Kinds.TryGetValue(info.Type, out (string Name, Type Record)[]? kinds))
            return;
        info.PolymorphismOptions = new JsonPolymorphismOptions { TypeDiscriminatorPropertyName = "type" };
        foreach ((string name, Type record) in kinds)
            info.PolymorphismOptions.DerivedTypes.Add(new JsonDerivedType(record, name));
    }
}
