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
/// What the compiler writes out to write the records of <see cref="MoeCatalog"/>: without reflection, so that a program can be
/// trimmed and compiled ahead of time. Whatever <see cref="ModelConfig"/> reaches by name comes along; the kinds stand here.
/// </summary>
[JsonSerializable(typeof(ModelConfig))]
[JsonSerializable(typeof(DenseConfig))]
[JsonSerializable(typeof(MoeConfig))]
[JsonSerializable(typeof(TopKRouterConfig))]
[JsonSerializable(typeof(TopPRouterConfig))]
[JsonSerializable(typeof(MoePlusPlusRouterConfig))]
[JsonSerializable(typeof(DcMoeRouterConfig))]
[JsonSerializable(typeof(NoisyTopKRouterConfig))]
[JsonSerializable(typeof(SparseMixerRouterConfig))]
[JsonSerializable(typeof(SwitchRouterConfig))]
[JsonSerializable(typeof(ExpertChoiceRouterConfig))]
[JsonSerializable(typeof(BaseRouterConfig))]
[JsonSerializable(typeof(GroupedTopKRouterConfig))]
[JsonSerializable(typeof(TaskRouterConfig))]
[JsonSerializable(typeof(FixedRouterConfig))]
[JsonSerializable(typeof(FfnExpertsConfig))]
[JsonSerializable(typeof(ZeroExpertsConfig))]
[JsonSerializable(typeof(CopyExpertsConfig))]
[JsonSerializable(typeof(ConstantExpertsConfig))]
[JsonSerializable(typeof(SharedExpertConfig))]
[JsonSerializable(typeof(MlpExpertsConfig))]
[JsonSerializable(typeof(ClampedExpertsConfig))]
[JsonSerializable(typeof(TwiceGatedExpertsConfig))]
[JsonSerializable(typeof(LinearRopeScaling))]
[JsonSerializable(typeof(Llama3RopeScaling))]
[JsonSerializable(typeof(YarnRopeScaling))]
[JsonSerializable(typeof(LongRopeScaling))]
[JsonSerializable(typeof(PairwiseRopeScaling))]
[JsonSerializable(typeof(LoadBalanceLoss))]
[JsonSerializable(typeof(RouterZLoss))]
[JsonSerializable(typeof(RouterEntropyLoss))]
[JsonSerializable(typeof(HeterogeneousBalanceLoss))]
[JsonSerializable(typeof(DcMoeBalanceLoss))]
[JsonSerializable(typeof(ImportanceLoadLoss))]
internal sealed partial class ConfigRecords : JsonSerializerContext;

/// <summary>Writes a <see cref="ModelConfig"/> and its parts by the names of <see cref="MoeCatalog"/>, every property in snake_case.</summary>
internal static class RecordWriting
{
    public static JsonSerializerOptions Json { get; } = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters =
        {
            Words<QkNorm>(), Words<MoePlusPlusGating>(), Words<RouterScores>(), Words<LoadRule>(), Words<Activation>(), Words<DropPolicy>(),
            Words<RoomRounding>(), Words<BalanceScope>(),
        },
        IgnoreReadOnlyProperties = true,
        TypeInfoResolver = ConfigRecords.Default.WithAddedModifier(AddKinds),
    };

    public static JsonObject Write(ModelConfig config) => JsonSerializer.SerializeToNode(config, Info<ModelConfig>())!.AsObject();

    /// <summary>A loss with all its settings, on one line; by its type's name where the catalog has none.</summary>
    public static string Describe(RouterLoss loss) => Array.Exists(MoeCatalog.Kinds[typeof(RouterLoss)], k => k.Record == loss.GetType())
        ? JsonSerializer.Serialize(loss, Info<RouterLoss>())
        : FormattableString.Invariant($"{loss.GetType().Name} {loss.Coefficient}");

    private static JsonTypeInfo<T> Info<T>() => (JsonTypeInfo<T>)Json.GetTypeInfo(typeof(T));

    private static JsonStringEnumConverter<T> Words<T>() where T : struct, Enum => new(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false);

    private static void AddKinds(JsonTypeInfo info)
    {
        if (!MoeCatalog.Kinds.TryGetValue(info.Type, out Kind[]? kinds))
            return;
        info.PolymorphismOptions = new JsonPolymorphismOptions { TypeDiscriminatorPropertyName = "type" };
        foreach (Kind kind in kinds)
            info.PolymorphismOptions.DerivedTypes.Add(new JsonDerivedType(kind.Record, kind.Name));
    }
}
