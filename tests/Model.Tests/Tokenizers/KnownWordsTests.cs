using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Tests.Tokenizers;

/// <summary>The words of well-known vocabularies, cut by hand where they differ from each other.</summary>
public sealed class KnownWordsTests
{
    private const string Text = "It'Sun  don't 1234!\n\n aB/c";

    [Theory]
    [InlineData(KnownWords.Gpt4, "It|'S|un| | don|'t| |123|4|!\n\n| aB|/c")]
    [InlineData(KnownWords.Qwen, "It|'S|un| | don|'t| |1|2|3|4|!\n\n| aB|/c")]
    [InlineData(KnownWords.Trained, "It|'Sun| | don|'t| |1|2|3|4|!\n\n| aB|/c")]
    [InlineData(KnownWords.Gpt4o, "It'S|un| | don't| |123|4|!\n\n| a|B|/c")]
    [InlineData(KnownWords.Tekken, "It|'Sun| | don|'t| |1|2|3|4|!\n\n| a|B|/c")]
    public void WordsAreCut(string pattern, string words)
    {
        List<(string Text, bool Matches)> cut = WordPattern.Parse(pattern).Cut(Text);
        Assert.Equal(words.Split('|'), cut.Select(static c => c.Text));
        Assert.All(cut, static c => Assert.True(c.Matches));
    }
}
