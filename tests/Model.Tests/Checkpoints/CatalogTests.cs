using System.Collections;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Checkpoints;

public sealed class CatalogTests
{
    private static readonly PairwiseRopeScaling Factors = new([1, 2], 3);
    private static readonly MoeConfig Mixture = new(new FixedRouterConfig(), [new ZeroExpertsConfig(1)]);

    /// <summary>One of each record, with what it must be told alone.</summary>
    private static readonly object[] Plain =
    [
        new DenseConfig(1), Mixture,
        new TopKRouterConfig(1), new TopPRouterConfig(1), new MoePlusPlusRouterConfig(), new DcMoeRouterConfig(1), new NoisyTopKRouterConfig(1),
        new SparseMixerRouterConfig(1), new SwitchRouterConfig(), new ExpertChoiceRouterConfig(), new BaseRouterConfig(), new GroupedTopKRouterConfig(1),
        new TaskRouterConfig(1), new FixedRouterConfig(),
        new FfnExpertsConfig(1, 1), new ZeroExpertsConfig(1), new CopyExpertsConfig(1), new ConstantExpertsConfig(1), new SharedExpertConfig(1, true),
        new MlpExpertsConfig(1, 1), new ClampedExpertsConfig(1, 1), new TwiceGatedExpertsConfig(1, 1),
        new LinearRopeScaling(1), new Llama3RopeScaling(1, 2, 3, 4), new YarnRopeScaling(1, 2, 3, 4, 5), new LongRopeScaling(Factors, Factors, 1), Factors,
        new LoadBalanceLoss(1), new RouterZLoss(1), new RouterEntropyLoss(1), new HeterogeneousBalanceLoss(1, 2), new DcMoeBalanceLoss(1), new ImportanceLoadLoss(1),
    ];

    /// <summary>What can be built in code can be named in a config.</summary>
    [Theory]
    [InlineData(typeof(FeedForwardConfig))]
    [InlineData(typeof(RouterConfig))]
    [InlineData(typeof(ExpertBankConfig))]
    [InlineData(typeof(RouterLoss))]
    [InlineData(typeof(RopeScaling))]
    public void HasALineForEveryPart(Type kind)
    {
        IEnumerable<Type> records = kind.Assembly.GetTypes().Where(t => t.IsSubclassOf(kind) && !t.IsAbstract).OrderBy(static t => t.Name);
        Assert.Equal(records, MoeCatalog.Kinds[kind].Select(static k => k.Record).OrderBy(static t => t.Name));
        Assert.Equal(records, Plain.Select(static p => p.GetType()).Where(kind.IsAssignableFrom).OrderBy(static t => t.Name));
    }

    /// <summary>A property that a constructor asks for must be there; what JSON leaves out of the others is what a new record has.</summary>
    [Fact]
    public void LeavesWhatIsNotNamedAsItIs()
    {
        ModelConfig model = new()
        {
            VocabSize = 1,
            HiddenSize = 2,
            Attention = new AttentionConfig { Heads = 1, KvHeads = 1, HeadDim = 2 },
            Layers = [Mixture],
            MaxPositions = 1,
        };
        TryWithoutEach(model);
        TryWithoutEach(model with { Attention = model.Attention with { Latent = new LatentAttentionConfig(1, 1) } });
        TryWithoutEach(model with { Layers = [Mixture with { Then = new DenseConfig(1) }] });
        TryWithoutEach(model with { Layers = [Mixture with { Router = new SwitchRouterConfig { Capacity = new CapacityConfig(1) } }] });
        foreach (object record in Plain)
            TryWithoutEach(record switch
            {
                FeedForwardConfig layer => model with { Layers = [layer] },
                RouterConfig router => model with { Layers = [Mixture with { Router = router }] },
                ExpertBankConfig bank => model with { Layers = [Mixture with { Banks = [bank] }] },
                RopeScaling scaling => model with { Attention = model.Attention with { RopeScaling = scaling } },
                RouterLoss loss => model with { RouterLosses = [loss] },
                _ => throw new InvalidOperationException($"{record}"),
            });
    }

    /// <summary>An enumeration without its converter would be written as a number.</summary>
    [Fact]
    public void WritesEnumerationsAsWords() => Assert.All(
        typeof(ModelConfig).Assembly.GetTypes().Where(static t => t.IsEnum && RecordWriting.Json.TryGetTypeInfo(t, out _)),
        static type => Assert.StartsWith("\"", JsonSerializer.Serialize(Enum.GetValues(type).GetValue(0), type, RecordWriting.Json), StringComparison.Ordinal));

    /// <summary>Takes one property after another out of a model's JSON, and puts a null and an unknown one in.</summary>
    private static void TryWithoutEach(ModelConfig model)
    {
        JsonObject json = RecordWriting.Write(model);
        Assert.True(model.Describes(Read(json)), $"{json}");
        foreach ((JsonObject place, Type record) in Records(json, model).ToList())
        {
            foreach ((string key, JsonNode? value) in place.ToList())
            {
                place.Remove(key);
                if (key == "type" || IsRequired(record, key))
                    Assert.Contains($"{key} is missing", Refusal(json), StringComparison.Ordinal);
                else if (value is JsonArray { Count: > 0 } || (value is JsonObject && MayBeNull(record, key)))
                    Read(json);                                  // a part that a new record has not
                else
                    Assert.True(model.Describes(Read(json)), $"{record.Name} without {key}: {json}");
                place[key] = null;
                if (value is not null)
                    Assert.Contains(key, MayBeNull(record, key) ? key : Refusal(json), StringComparison.Ordinal);
                place[key] = value;
            }
            place["colour"] = 1;
            Assert.Contains("unknown key 'colour'", Refusal(json), StringComparison.Ordinal);
            place.Remove("colour");
        }
    }

    /// <summary>Each object with the type that it describes.</summary>
    private static IEnumerable<(JsonObject Json, Type Type)> Records(JsonObject json, object record) =>
        record.GetType().GetProperties().SelectMany(p => json[Snake(p.Name)] switch
        {
            JsonObject one => Records(one, p.GetValue(record)!),
            JsonArray list => list.Zip(((IEnumerable)p.GetValue(record)!).Cast<object>()).Where(static i => i.First is JsonObject)
                .SelectMany(static i => Records(i.First!.AsObject(), i.Second)),
            _ => [],
        }).Prepend((json, record.GetType()));

    private static bool IsRequired(Type record, string key) =>
        record.GetConstructors().Single().GetParameters().Any(p => Snake(p.Name!) == key && !p.HasDefaultValue)
        || record.GetProperties().Any(p => Snake(p.Name) == key && p.IsDefined(typeof(RequiredMemberAttribute)));

    private static bool MayBeNull(Type record, string key) =>
        record.GetProperties().Any(p => Snake(p.Name) == key && new NullabilityInfoContext().Create(p).WriteState == NullabilityState.Nullable);

    private static string Snake(string name) => JsonNamingPolicy.SnakeCaseLower.ConvertName(name);

    private static ModelConfig Read(JsonObject json) => RecordReading.Model(ConfigJson.Parse("config.json", json.ToJsonString()));

    private static string Refusal(JsonObject json) => Assert.Throws<CheckpointException>(() => Read(json)).Message;
}
