using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// What the compiler writes out to read and write the records of <see cref="MoeCatalog"/>: without reflection, so that a program can be
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

/// <summary>
/// The values that init properties have where JSON says nothing of them. Generated code sets all of them, absent ones to zero
/// (dotnet/runtime#84484), so what is absent is put in first, as a record has it that was made without.
/// </summary>
internal static class InitialValues
{
    /// <summary>One of each record with a property whose initial value is not zero, false or null.</summary>
    private static readonly Dictionary<Type, object> Fresh = new object[]
    {
        new ModelConfig { VocabSize = 0, HiddenSize = 0, Attention = null!, Layers = [], MaxPositions = 0 },
        new AttentionConfig { Heads = 0, KvHeads = 0, HeadDim = 0 },
        new MoeConfig(null!, []),
        new TopKRouterConfig(0), new TopPRouterConfig(0), new MoePlusPlusRouterConfig(), new DcMoeRouterConfig(0), new NoisyTopKRouterConfig(0),
        new SparseMixerRouterConfig(0), new SwitchRouterConfig(), new ExpertChoiceRouterConfig(), new BaseRouterConfig(), new GroupedTopKRouterConfig(0),
        new TaskRouterConfig(0), new FixedRouterConfig(), new ImportanceLoadLoss(0),
    }.ToDictionary(static r => r.GetType());

    public static void Add(JsonNode? json, JsonTypeInfo info)
    {
        if (info.Kind == JsonTypeInfoKind.Enumerable && json is JsonArray items)
            foreach (JsonNode? item in items)
                Add(item, Of(info.ElementType!));
        if (info.Kind != JsonTypeInfoKind.Object || json is not JsonObject record)
            return;
        if (info.PolymorphismOptions is { } kinds)
        {
            if (kinds.DerivedTypes.FirstOrDefault(k => Is(record[kinds.TypeDiscriminatorPropertyName], k.TypeDiscriminator)) is { DerivedType: { } kind })
                Add(record, Of(kind));
            return;
        }
        foreach (JsonPropertyInfo property in info.Properties)
            if (record.TryGetPropertyValue(property.Name, out JsonNode? value))
                Add(value, Of(property.PropertyType));
            else if (property is { IsRequired: false, AssociatedParameter.IsMemberInitializer: true } && Fresh.TryGetValue(info.Type, out object? fresh))
                record[property.Name] = JsonSerializer.SerializeToNode(property.Get!(fresh), Of(property.PropertyType));

        static JsonTypeInfo Of(Type type) => MoeCatalog.Json.GetTypeInfo(type);
        static bool Is(JsonNode? name, object? discriminator) => name is JsonValue text && text.TryGetValue(out string? s) && s.Equals(discriminator);
    }
}
