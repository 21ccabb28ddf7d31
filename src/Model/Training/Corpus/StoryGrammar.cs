using System.Text.RegularExpressions;

namespace MoeFromScratch.Model.Training.Corpus;

/// <summary>
/// Short stories from a small grammar: a sentence frame for each stage of the story, and words for its slots. A slot with a
/// name, like <c>{who}</c>, is drawn once and keeps its word to the end; the same frames, read as a regular expression,
/// tell whether a text is such a story.
/// </summary>
public static class StoryGrammar
{
    private static readonly string[] Hers = ["Lily", "Mia", "Anna", "Rosa", "Nora", "Ella", "Lucy", "Ruth"];
    private static readonly string[] His = ["Tom", "Max", "Ben", "Sam", "Leo", "Jack", "Paul", "Finn"];

    private static readonly Dictionary<string, string[]> Words = new()
    {
        ["friend"] = ["Ida", "Otto", "Emma", "Hugo", "Clara", "Oscar"],
        ["kind"] = ["girl", "boy"],
        ["animal"] = ["cat", "dog", "fox", "bear", "duck", "frog", "mouse", "rabbit"],
        ["small"] = ["small", "young", "clever", "brave", "quiet", "happy"],
        ["place"] = ["house", "village", "garden", "castle", "forest", "valley"],
        ["near"] = ["the river", "the sea", "the hill", "the old mill", "the lake"],
        ["when"] = ["One day", "One morning", "One night", "In the spring", "After lunch"],
        ["doing"] = ["sing", "swim", "dance", "read", "climb trees", "draw pictures", "play outside"],
        ["thing"] = ["ball", "key", "box", "book", "boat", "kite", "stone", "bell"],
        ["look"] = ["red", "blue", "green", "golden", "shiny", "big"],
        ["where"] = ["under a tree", "in the grass", "behind the house", "on the road", "near the water"],
        ["feeling"] = ["happy", "glad", "proud", "surprised"],
        ["trouble"] = ["It started to rain.", "The wind was cold.", "It was getting dark.", "They heard a strange sound."],
        ["ending"] = ["they were the best of friends", "they played together every day", "they were never alone again"],
    };

    /// <summary>One of a stage's frames makes a sentence, or two.</summary>
    private static readonly string[][] Stages =
    [
        [
            "Once upon a time there was a {small} {kind} named {who}.",
            "Once upon a time a {small} {kind} named {who} lived in a {place} near {near}.",
        ],
        ["{who} liked to {doing}.", "Every day {who} liked to {doing} with a {animal}.", "{who} had a {animal} and liked to {doing}."],
        ["{when} {pronoun} found a {look} {thing} {where}.", "{when} {who} saw a {look} {thing} {where}."],
        ["\"What a {look} {thing}!\" said {who}.", "{who} was very {feeling} and took the {thing} home.", "{who} wanted to show the {thing} to {friend}."],
        ["{trouble}", "Then {friend} came and asked, \"May I see the {thing}?\"", "{friend} came too, and {who} was {feeling}."],
        ["\"Yes,\" said {who}, \"we can share the {thing}.\"", "So {who} gave the {thing} to {friend}.", "{who} and {friend} played with the {thing} until the evening."],
        ["{who} was {feeling}.", "{friend} was {feeling} and said, \"Thank you, {who}!\"", "From that day on {ending}."],
    ];

    // a slot without a name of its own: every use is drawn anew
    private static readonly HashSet<string> Free = ["small", "animal", "place", "near", "when", "doing", "look", "where", "feeling", "trouble", "ending"];

    private static readonly Regex Slot = new(@"\{(\w+)\}");
    private static readonly Regex[] Stories = [Story(hers: true), Story(hers: false)];
    private static readonly Regex Sentences = new(
        $"^(?:{string.Join('|', Stages.SelectMany(static s => s).Select(static f => Pattern(f, static slot => Choice(Anything(slot)))))})$");

    /// <summary>A story.</summary>
    /// <param name="below">Draws a number below its argument.</param>
    public static string Tell(Func<int, int> below)
    {
        bool hers = below(2) == 0;
        Dictionary<string, string> drawn = [];
        return string.Join(' ', Stages.Select(frames => Slot.Replace(frames[below(frames.Length)], m => Word(m.Groups[1].Value))));

        string Word(string slot)
        {
            if (Free.Contains(slot))
                return Pick(Words[slot]);
            if (!drawn.TryGetValue(slot, out string? word))
                drawn[slot] = word = Pick(Choices(slot, hers));
            return word;
        }

        string Pick(string[] words) => words[below(words.Length)];
    }

    /// <summary>Whether it is a story from beginning to end, with everybody's name, pronoun and thing the same throughout.</summary>
    public static bool IsStory(string text) => Stories.Any(s => s.IsMatch(text));

    /// <summary>The share of a text's sentences that the grammar can make, whoever they are about.</summary>
    public static double GrammaticalShare(string text)
    {
        List<string> sentences = [.. SplitSentences(text)];
        return sentences.Count == 0 ? 0 : (double)sentences.Count(s => Sentences.IsMatch(s)) / sentences.Count;
    }

    /// <summary>Cut after a full stop, and after the end of direct speech that closes a sentence.</summary>
    private static string[] SplitSentences(string text) => Regex.Split(text.Trim(), @"(?<=\.""?|\?""|Thank you, \w+!"") (?=[A-Z""])");

    private static string[] Choices(string slot, bool hers) => slot switch
    {
        "who" => hers ? Hers : His,
        "pronoun" => [hers ? "she" : "he"],
        "kind" => [hers ? "girl" : "boy"],
        _ => Words[slot],
    };

    private static string[] Anything(string slot) => [.. Choices(slot, hers: true).Union(Choices(slot, hers: false))];

    private static Regex Story(bool hers)
    {
        return new Regex($"^{string.Join(' ', Stages.Select(frames => $"(?:{string.Join('|', frames.Select(f => Pattern(f, Bound)))})"))}$");

        // the first time anything, later the same again
        string Bound(string slot) => Free.Contains(slot)
            ? Choice(Choices(slot, hers))
            : $"(?:(?({slot})\\k<{slot}>|(?<{slot}>{string.Join('|', Choices(slot, hers))})))";
    }

    private static string Pattern(string frame, Func<string, string> slot) =>
        string.Concat(Slot.Split(frame).Select((part, i) => i % 2 == 0 ? Regex.Escape(part) : slot(part)));

    private static string Choice(string[] words) => $"(?:{string.Join('|', words.Select(Regex.Escape))})";
}
