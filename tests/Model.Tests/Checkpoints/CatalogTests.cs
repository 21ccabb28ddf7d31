using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;

namespace MoeFromScratch.Model.Tests.Checkpoints;

public sealed class CatalogTests
{
    /// <summary>What can be built in code can be named in a config.</summary>
    [Theory]
    [InlineData(typeof(FeedForwardConfig))]
    [InlineData(typeof(RouterConfig))]
    [InlineData(typeof(ExpertBankConfig))]
    [InlineData(typeof(RouterLoss))]
    [InlineData(typeof(RopeScaling))]
    public void HasALineForEveryPart(Type kind)
    {
        IEnumerable<Type> records = kind.Assembly.GetTypes().Where(t => t.IsSubclassOf(kind) && !t.IsAbstract);
        IEnumerable<Type> named = MoeCatalog.Json.GetTypeInfo(kind).PolymorphismOptions!.DerivedTypes.Select(static d => d.DerivedType);
        Assert.Equal(records.OrderBy(static t => t.Name), named.OrderBy(static t => t.Name));
    }

    /// <summary>Generated code knows no initial values of init properties: what JSON leaves out must be what a new record has.</summary>
    [Fact]
    public void LeavesWhatIsNotNamedAsItIs()
    {
        foreach (Type kind in new[] { typeof(FeedForwardConfig), typeof(RouterConfig), typeof(ExpertBankConfig), typeof(RopeScaling), typeof(RouterLoss) })
            foreach (JsonDerivedType record in MoeCatalog.Json.GetTypeInfo(kind).PolymorphismOptions!.DerivedTypes)
                Compare(MoeCatalog.Json.GetTypeInfo(record.DerivedType));
        foreach (Type record in new[] { typeof(ModelConfig), typeof(AttentionConfig), typeof(GateConfig), typeof(CapacityConfig), typeof(LatentAttentionConfig) })
            Compare(MoeCatalog.Json.GetTypeInfo(record));

        static void Compare(JsonTypeInfo info)
        {
            JsonObject filled = [];
            InitialValues.Add(filled, info);
            ConstructorInfo constructor = info.Type.GetConstructors().Single();
            object record = constructor.Invoke([.. constructor.GetParameters().Select(static p =>
                p.ParameterType.IsValueType ? Activator.CreateInstance(p.ParameterType) : null)]);
            foreach (JsonPropertyInfo property in info.Properties.Where(static p => p is { IsRequired: false, AssociatedParameter.IsMemberInitializer: true }))
            {
                object? initial = property.Get!(record), zero = property.PropertyType.IsValueType ? Activator.CreateInstance(property.PropertyType) : null;
                string expected = JsonSerializer.Serialize(initial, MoeCatalog.Json.GetTypeInfo(property.PropertyType));
                string read = filled[property.Name] is { } value ? value.ToJsonString() : JsonSerializer.Serialize(zero, MoeCatalog.Json.GetTypeInfo(property.PropertyType));
                Assert.True(expected == read, $"{info.Type.Name}.{property.Name}: {expected} becomes {read}");
            }
        }
    }

    /// <summary>An enumeration without its converter would be written as a number.</summary>
    [Fact]
    public void WritesEnumerationsAsWords() => Assert.All(
        typeof(ModelConfig).Assembly.GetTypes().Where(static t => t.IsEnum && MoeCatalog.Json.TryGetTypeInfo(t, out _)),
        static type => Assert.StartsWith("\"", JsonSerializer.Serialize(Enum.GetValues(type).GetValue(0), type, MoeCatalog.Json), StringComparison.Ordinal));
}
