using System.Security.Cryptography;
using System.Text;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Training.Corpus;

namespace MoeFromScratch.Model.Tests.Training;

public sealed class PracticeCorpusTests
{
    private const string End = TokenizerChoice.EndOfText;
    private static readonly string Text = PracticeCorpus.Write(20_000, seed: 0, End);
    private static readonly string[] Documents = Text.Split(End, StringSplitOptions.RemoveEmptyEntries);

    public static TheoryData<ExerciseKind> Kinds { get; } = [.. Enum.GetValues<ExerciseKind>()];

    /// <summary>The built-in model can be made again only from the same text: a change of the corpus is a change of the model.</summary>
    [Fact]
    public void IsTheSameOnEveryMachine()
    {
        Assert.Equal(20_000, Documents.Length);
        Assert.Equal("fb44e5aa204297c6", Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Text)))[..16]);
        Assert.NotEqual(Documents[..10], PracticeCorpus.Write(10, seed: 1, End).Split(End)[..10]);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void HeldOutExercisesAreNotInTheText(ExerciseKind kind)
    {
        HashSet<string> seen = [.. Documents];
        Exercise[] exercises = [.. Enumerable.Range(0, 200).Select(i => PracticeCorpus.HeldOut(kind, 5, i))];
        Assert.All(exercises, e => Assert.Equal(kind, e.Kind));
        Assert.True(exercises.Distinct().Count() > 20, "the same exercises again and again");
        if (kind is ExerciseKind.Story or ExerciseKind.Counting)
            return;
        Assert.DoesNotContain(exercises, e => seen.Contains(e.Prompt + e.Answer));
        if (kind == ExerciseKind.Addition)
            Assert.DoesNotContain(exercises, e => seen.Contains($"{string.Join('+', e.Prompt.TrimEnd('=').Split('+').Reverse())}={e.Answer}"));
    }

    /// <summary>Answers computed another way than the corpus does.</summary>
    [Fact]
    public void AnswersAreRight()
    {
        foreach (string document in Documents)
        {
            string[] halves = document.Split([':', '='], 2);
            string[] words = halves[0].Split(' ')[1..], answer = halves[^1].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (document.Contains('='))
                Assert.Equal(int.Parse(halves[1], null), halves[0].Split('+').Sum(static t => int.Parse(t, null)));
            else if (document.StartsWith("reverse", StringComparison.Ordinal))
                Assert.Equal(words.Reverse(), answer);
            else if (document.StartsWith("sort", StringComparison.Ordinal))
                Assert.Equal(words.Order(StringComparer.Ordinal), answer);
            else if (document.StartsWith("repeat", StringComparison.Ordinal))
                Assert.Equal([.. words, .. words, .. words, .. words], answer);
            else if (document.StartsWith("count", StringComparison.Ordinal))
                Assert.Equal(Enumerable.Range(int.Parse(words[1], null), 10), answer.Select(static a => int.Parse(a, null)));
            else
                Assert.StartsWith("Once upon a time", document, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void TheGrammarKnowsItsOwnStoriesFromOthers()
    {
        string[] stories = [.. Documents.Where(static d => d.StartsWith("Once", StringComparison.Ordinal))];
        Assert.True(stories.Length > 500);
        Assert.All(stories, static s => Assert.True(StoryGrammar.IsStory(s), s));
        Assert.All(stories, static s => Assert.True(StoryGrammar.GrammaticalShare(s) == 1, s));

        string story = stories.First(static s => s.Contains("named Lily", StringComparison.Ordinal) && s.Contains(" she ", StringComparison.Ordinal));
        Assert.False(StoryGrammar.IsStory(story.Replace(" she ", " he ", StringComparison.Ordinal)));
        string renamed = story.Replace("named Lily", "named Mia", StringComparison.Ordinal);
        Assert.False(StoryGrammar.IsStory(renamed));
        Assert.Equal(1, StoryGrammar.GrammaticalShare(renamed));     // each sentence by itself is one
        Assert.False(StoryGrammar.IsStory(story[..^20]));
        Assert.InRange(StoryGrammar.GrammaticalShare(story.Replace(" was ", " were ", StringComparison.Ordinal)), 0, 0.99);
        Assert.Equal(0, StoryGrammar.GrammaticalShare("Once the a. Lily liked."));
    }

    [Fact]
    public void ATrainedTokenizerCutsDigitsAndDocuments()
    {
        Tokenizer tokenizer = TokenizerChoice.Bpe(600).Make(Text);
        Assert.True(tokenizer.VocabSize <= 600);
        for (int i = 0; i < 200; i++)
            Assert.Equal($"{i}+{i}=".Length, tokenizer.Encode($"{i}+{i}=", addSpecialTokens: false).Length);
        int end = tokenizer.IdOf(End)!.Value;
        Assert.Equal(2, tokenizer.Encode($"1+1=2{End}2+2=4{End}", addSpecialTokens: false).Count(id => id == end));
        Assert.Equal([end, .. tokenizer.Encode("1+1", addSpecialTokens: false)], tokenizer.Encode("1+1"));
        Assert.Null(tokenizer.IdOf("no such token"));
        Assert.Equal("naïve ⊕ 東京\r\n", tokenizer.Decode(tokenizer.Encode("naïve ⊕ 東京\r\n", addSpecialTokens: false)));
    }

    [Fact]
    public void ATokenizerIsChosenByAWord()
    {
        Assert.Same(TokenizerChoice.Characters, TokenizerChoice.Parse("characters"));
        Assert.Equal((End, 300), (TokenizerChoice.Parse("bpe:300").Separator, TokenizerChoice.Parse("bpe:300").Make(Text[..100_000]).VocabSize));
        foreach (string wrong in new[] { "bpe:", "bpe:256", "bpe:x", "bpe:99999999", "characters2", "" })
            Assert.Throws<ArgumentException>(() => TokenizerChoice.Parse(wrong));
    }
}
