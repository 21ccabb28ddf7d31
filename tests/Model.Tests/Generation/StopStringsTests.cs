using MoeFromScratch.Model.Generation;

namespace MoeFromScratch.Model.Tests.Generation;

public sealed class StopStringsTests
{
    /// <summary>However a text is cut into pieces, what is shown ends before the first stop string.</summary>
    [Theory]
    [InlineData("hello END more", "END", "hello ")]
    [InlineData("hello EN", "END", "hello EN")]
    [InlineData("aaab", "aab", "a")]
    [InlineData("one\n\ntwo", "\n\n", "one")]
    [InlineData("first second", "second|first", "")]
    [InlineData("xyz", "z|yz", "x")]
    [InlineData("nothing here", "", "nothing here")]
    public void EndsBeforeTheFirstStop(string text, string stops, string expected)
    {
        for (int size = 1; size <= text.Length; size++)
        {
            StopStrings stop = new(stops.Split('|', StringSplitOptions.RemoveEmptyEntries));
            string shown = "";
            for (int at = 0; at < text.Length; at += size)
                shown += stop.Push(text.Substring(at, Math.Min(size, text.Length - at)));
            Assert.Equal(expected, shown + stop.Flush());
            Assert.Equal(shown.Length < text.Length && expected != text, stop.Stopped);
        }
    }

    [Fact]
    public void HoldsBackOnlyWhatCouldBecomeAStop()
    {
        StopStrings stop = new(["END"]);
        Assert.Equal("abc", stop.Push("abc"));
        Assert.Equal("", stop.Push("E"));
        Assert.Equal("EX", stop.Push("X"));
    }

    [Fact]
    public void RefusesAnEmptyStop() => Assert.Throws<ArgumentException>(() => new StopStrings([""]));
}
