using System.Text.RegularExpressions;
using MoeFromScratch.Contract;

namespace MoeFromScratch.Cli.Tests;

/// <summary>What the README says about the repository is true.</summary>
public sealed partial class RepositoryTests
{
    private static readonly string Root = Path.GetFullPath(Path.Combine(Golden.Folder("mixtral"), "..", "..", ".."));

    [Fact]
    public void EveryPathOfTheReadmesTreeExists()
    {
        string tree = TreeBlock().Match(File.ReadAllText(Path.Combine(Root, "README.md"))).Groups[1].Value;
        List<string> paths = [.. TreePath().Matches(tree).Select(static m => m.Value)];
        Assert.True(paths.Count > 10, "the README's tree is missing");
        Assert.All(paths, static path => Assert.True(Path.Exists(Path.Combine(Root, path)), path));
    }

    [Fact]
    public void EveryRoomHasAReadme() =>
        Assert.All(["Tensors", "Autograd", "Model", "Gpu", "Cli"], static room => Assert.True(File.Exists(Path.Combine(Root, "src", room, "README.md")), room));

    [GeneratedRegex("```tree\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex TreeBlock();

    [GeneratedRegex(@"(?<=^)\S+", RegexOptions.Multiline)]
    private static partial Regex TreePath();
}
