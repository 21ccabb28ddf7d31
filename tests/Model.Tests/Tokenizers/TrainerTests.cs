using MoeFromScratch.Model.Tokenizers;

namespace MoeFromScratch.Model.Tests.Tokenizers;

public sealed class TrainerTests
{
    private const string End = "<|endoftext|>", Gpt4 = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private static readonly string[] Texts = MakeTexts();

    [Theory]
    [InlineData(257, null)]
    [InlineData(300, null)]
    [InlineData(500, null)]
    [InlineData(500, Gpt4)]
    public void VocabulariesHaveTheirSizeAndEncodeAnything(int size, string? pattern)
    {
        Tokenizer tokenizer = BpeTrainer.Train(Texts, size, [End], pattern);
        Assert.Equal(size, tokenizer.VocabSize);
        Assert.Equal([size - 1], tokenizer.Encode(End));
        foreach (string text in Texts.Concat(UnicodeTexts.Fixed).Concat(UnicodeTexts.Random(seed: 1, count: 200)))
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void MoreMergesGiveFewerTokens()
    {
        int[] lengths = [.. new[] { 256, 280, 320, 400, 600 }.Select(static size => BpeTrainer.Train(Texts, size).Encode(string.Concat(Texts)).Length)];
        Assert.All(lengths.Zip(lengths.Skip(1)), static pair => Assert.True(pair.Second < pair.First));
    }

    [Fact]
    public void TheSameTextsGiveTheSameTokenizer()
    {
        string first = BpeTrainer.Train(Texts, 500, [End]).ToJson();
        Assert.Equal(first, BpeTrainer.Train(Texts, 500, [End]).ToJson());
        Assert.Equal(first, BpeTrainer.Train(Texts.Reverse(), 500, [End]).ToJson());
    }

    /// <summary>By hand: "ab" occurs 4 times, then "abc" 3 times; "cd" and "de" tie at 2, and (c, d) has the smaller ids.</summary>
    [Fact]
    public void TheMostFrequentPairGoesFirst()
    {
        Tokenizer tokenizer = BpeTrainer.Train(["abc", "abc", "abc", "ab", "cde", "cde"], 259);
        string[] tokens = [.. Enumerable.Range(256, 3).Select(id => tokenizer.Decode([id]))];
        Assert.Equal(["ab", "abc", "cd"], tokens);
    }

    /// <summary>Each step by counting everything anew.</summary>
    [Fact]
    public void MergesAreThoseOfTheDefinition()
    {
        Tokenizer bytes = BpeTrainer.Train(Texts, 256), trained = BpeTrainer.Train(Texts, 350);
        List<List<string>> words = [.. Texts.SelectMany(t => bytes.Words(t)).Select(static w => w.Word.Select(static c => c.ToString()).ToList())];
        Dictionary<string, int> ids = ByteLevel.Alphabet.Index().ToDictionary(static c => c.Item.ToString(), static c => c.Index);
        while (ids.Count < 350)
        {
            (string left, string right) = words.SelectMany(static w => w.Zip(w.Skip(1))).CountBy(static p => p)
                .OrderByDescending(static p => p.Value).ThenBy(p => ids[p.Key.First]).ThenBy(p => ids[p.Key.Second]).First().Key;
            ids.TryAdd(left + right, ids.Count);
            foreach (List<string> word in words)
                for (int i = 0; i + 1 < word.Count; i++)
                    if (word[i] == left && word[i + 1] == right)
                    {
                        word[i] = left + right;
                        word.RemoveAt(i + 1);
                    }
        }
        foreach ((string token, int id) in ids)
            Assert.Equal(token, trained.Token(id));
    }

    [Fact]
    public void SpecialTokensAreNotLearntFrom()
    {
        Tokenizer tokenizer = BpeTrainer.Train(Enumerable.Repeat($"{End}ab{End}", 50), 300, [End, "<pad>"]);
        Assert.Equal(259, tokenizer.VocabSize);   // one pair, two special tokens
        Assert.Equal([257, 256, 257, 258], tokenizer.Encode($"{End}ab{End}<pad>"));
    }

    [Fact]
    public void ImpossibleDemandsAreRefused()
    {
        Assert.Throws<ArgumentException>(() => BpeTrainer.Train(Texts, 256, [End]));
        Assert.Throws<ArgumentException>(() => BpeTrainer.Train(Texts, 300, [End, End]));
        Assert.Throws<ArgumentException>(() => BpeTrainer.Train(Texts, 300, [""]));
        Assert.Throws<ArgumentException>(() => BpeTrainer.Train(Texts, 300, pattern: "("));
        Assert.Equal(256, BpeTrainer.Train([], 300).VocabSize);
    }

    /// <summary>Words of syllables, so that there is something to learn; signs and other scripts among them.</summary>
    private static string[] MakeTexts()
    {
        string[] syllables = ["ba", "lo", "mi", "ter", "an", "sch", "é", "né", "漢字", "🙂", "'s", "12", "!?", "\n"];
        Random random = new(3);
        return [.. Enumerable.Range(0, 60).Select(_ => string.Concat(Enumerable.Range(0, 60)
            .Select(_ => (random.Next(3) == 0 ? " " : "") + syllables[Math.Min(random.Next(syllables.Length), random.Next(syllables.Length))])))];
    }
}
