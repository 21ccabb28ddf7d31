using System.Globalization;
using System.Text;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Training.Corpus;

/// <summary>What a document of the practice corpus is about; from the easiest to the hardest, more or less.</summary>
public enum ExerciseKind
{
    /// <summary>Some words four times over.</summary>
    Repetition,

    /// <summary>Ten numbers in a row.</summary>
    Counting,

    /// <summary>A story from a small grammar.</summary>
    Story,

    /// <summary>Letters in the opposite order.</summary>
    Reversal,

    /// <summary>Letters in the order of the alphabet.</summary>
    Sorting,

    /// <summary>The sum of two numbers of up to two digits.</summary>
    Addition,
}

/// <summary>A document: what is given, and what should follow.</summary>
public readonly record struct Exercise(ExerciseKind Kind, string Prompt, string Answer);

/// <summary>
/// A corpus drawn from a seed, whose kinds of text differ clearly in difficulty: something to train on without a download,
/// and to see whether a router gives the hard ones more experts. About a tenth of all repetitions, lists and sums never occur in
/// it: the held-out ones, on which a model shows whether it learned the rule or the examples.
/// </summary>
public static class PracticeCorpus
{
    private const int Site = 3;   // tells these draws apart from the other users of a seed
    private const int HeldOutOneIn = 10;

    private static readonly string[] Things = ["sun", "cat", "tree", "fish", "rain", "book", "hat", "moon", "bird", "star", "milk", "door"];

    /// <summary>Documents of each kind in a hundred.</summary>
    private static readonly (ExerciseKind Kind, int Share)[] Mix =
    [
        (ExerciseKind.Repetition, 6), (ExerciseKind.Counting, 4), (ExerciseKind.Story, 8),
        (ExerciseKind.Reversal, 12), (ExerciseKind.Sorting, 12), (ExerciseKind.Addition, 58),
    ];

    /// <summary>The training text: documents, each ended by <paramref name="end"/>.</summary>
    public static string Write(int documents, ulong seed, string end)
    {
        StringBuilder text = new();
        for (int i = 0; i < documents; i++)
        {
            Exercise exercise = Training(seed, i);
            text.Append(exercise.Prompt).Append(exercise.Answer).Append(end);
        }
        return text.ToString();
    }

    /// <summary>Document <paramref name="index"/> of the training text.</summary>
    public static Exercise Training(ulong seed, int index)
    {
        CounterRandom random = CounterRandom.At(seed, index, (int)ExerciseKind.Addition + 1, Site);
        long at = random.Below(Mix.Sum(static m => m.Share), 0);
        foreach ((ExerciseKind kind, int share) in Mix)
            if ((at -= share) < 0)
                return Draw(kind, seed, index, heldOut: false);
        throw new InvalidOperationException("the shares do not sum up");
    }

    /// <summary>Exercise <paramref name="index"/> of a kind that the training text never has; stories and counts, which know no such, are just others.</summary>
    public static Exercise HeldOut(ExerciseKind kind, ulong seed, int index) => Draw(kind, ~seed, index, heldOut: true);

    /// <summary>Whether a model's continuation of the prompt is right: the answer itself, or any whole story.</summary>
    public static bool IsRight(in Exercise exercise, string continuation) => exercise.Kind == ExerciseKind.Story
        ? StoryGrammar.IsStory(exercise.Prompt + continuation)
        : continuation == exercise.Answer;

    private static Exercise Draw(ExerciseKind kind, ulong seed, int index, bool heldOut)
    {
        CounterRandom random = CounterRandom.At(seed, index, (int)kind, Site);
        ulong n = 0;
        while (true)    // until it falls on the side that is asked for
        {
            (string content, Exercise exercise) = Make(kind, bound => (int)random.Below(bound, n++));
            if (content.Length == 0 || Hash(content) % HeldOutOneIn == 0 == heldOut)
                return exercise;
        }
    }

    /// <param name="below">Draws a number below its argument.</param>
    /// <returns>The exercise, and what decides whether it is held out: the same for all that would give it away. Empty where nothing is.</returns>
    private static (string Content, Exercise Exercise) Make(ExerciseKind kind, Func<int, int> below)
    {
        switch (kind)
        {
            case ExerciseKind.Repetition:
                string pattern = string.Join(' ', Shuffled(Things, below).Take(2 + below(3)));
                return (pattern, new(kind, $"repeat {pattern}:", string.Concat(Enumerable.Repeat($" {pattern}", 4))));
            case ExerciseKind.Counting:
                int first = below(90);
                return ("", new(kind, $"count from {first}:", string.Concat(Enumerable.Range(first, 10).Select(static i => $" {i}"))));
            case ExerciseKind.Story:
                const string Opening = "Once upon a time";
                return ("", new(kind, Opening, StoryGrammar.Tell(below)[Opening.Length..]));
            case ExerciseKind.Reversal:
                string[] letters = Letters(below);
                return (string.Concat(letters), new(kind, $"reverse {string.Join(' ', letters)}:", Spaced(letters.Reverse())));
            case ExerciseKind.Sorting:
                string[] unsorted = Letters(below);
                string sorted = Spaced(unsorted.Order(StringComparer.Ordinal));
                return (sorted, new(kind, $"sort {string.Join(' ', unsorted)}:", sorted));
            case ExerciseKind.Addition:
                (int a, int b) = (Operand(), Operand());
                return (string.Create(CultureInfo.InvariantCulture, $"{Math.Min(a, b)}+{Math.Max(a, b)}"), new(kind, $"{a}+{b}=", $"{a + b}"));
            default:
                throw new ArgumentOutOfRangeException(nameof(kind));
        }

        int Operand() => below(below(6) == 0 ? 10 : 100);   // one digit is rare among all numbers, not among what people try
    }

    private static string[] Letters(Func<int, int> below) =>
        [.. Shuffled([.. Enumerable.Range('a', 26).Select(static c => ((char)c).ToString())], below).Take(3 + below(5))];

    private static string Spaced(IEnumerable<string> items) => string.Concat(items.Select(static i => $" {i}"));

    /// <summary>Fisher and Yates.</summary>
    private static string[] Shuffled(string[] items, Func<int, int> below)
    {
        items = [.. items];
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = below(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
        return items;
    }

    /// <summary>FNV-1a: the same on every machine.</summary>
    private static ulong Hash(string text)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in text)
            hash = (hash ^ c) * 1099511628211;
        return hash;
    }
}
