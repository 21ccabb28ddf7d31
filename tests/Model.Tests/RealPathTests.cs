using MoeFromScratch.Contract;

namespace MoeFromScratch.Model.Tests;

public sealed class RealPathTests
{
    [Fact]
    public void LinksAreFollowedWhereverTheyStand()
    {
        using TemporaryFolder folder = new();
        string root = RealPath.Of(folder.Path), inner = Path.Combine(root, "a", "b");
        Directory.CreateDirectory(inner);
        File.CreateSymbolicLink(Path.Combine(root, "to a"), Path.Combine(root, "a"));
        File.CreateSymbolicLink(Path.Combine(inner, "up"), "../../to a");       // relative, and to a link
        Assert.Equal(inner, RealPath.Of(Path.Combine(root, "to a", "b", "up", "b", ".")));
        Assert.Equal(Path.Combine(inner, "not", "there"), RealPath.Of(Path.Combine(root, "to a", "b", "not", "there") + "/"));

        Assert.True(RealPath.Holds(Path.Combine(root, "to a"), inner));
        Assert.True(RealPath.Holds(Path.Combine(root, "a", "b"), Path.Combine(root, "to a", "b")));
        Assert.True(RealPath.Holds("/", inner));
        Assert.False(RealPath.Holds(inner, Path.Combine(root, "a")));
        Assert.False(RealPath.Holds(Path.Combine(root, "a"), Path.Combine(root, "ab")));
    }
}
