namespace MoeFromScratch.Model.Tests;

public sealed class EnglishTests
{
    [Theory]
    [InlineData("mixtral", "a mixtral")]
    [InlineData("olmoe", "an olmoe")]
    [InlineData("uni-moe-2", "a uni-moe-2")]
    [InlineData("ExpertChoiceRouterConfig", "an ExpertChoiceRouterConfig")]
    [InlineData("", "a ")]
    public void NamesHaveTheirArticle(string name, string read) => Assert.Equal(read, English.A(name));
}
