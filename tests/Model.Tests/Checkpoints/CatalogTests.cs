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
}
