using System.Runtime.InteropServices;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// Learns a byte-level BPE vocabulary: begin with the 256 bytes, and make a token of the pair of neighbours that occurs most
/// often in the texts' words, again and again. Among equally frequent pairs the one with the smaller ids goes first, so that the same texts
/// give the same tokenizer.
/// </summary>
public sealed class BpeTrainer
{
    private const int LeastFrequency = 2;   // a pair that occurs once teaches nothing

    private readonly List<string> _vocab = [.. ByteLevel.Alphabet.Select(static c => c.ToString())];
    private readonly Dictionary<string, int> _ids = [];
    private readonly List<(string Left, string Right)> _merges = [];
    private readonly List<(int[] Symbols, int Length, long Count)> _words = [];
    private readonly Dictionary<(int Left, int Right), long> _counts = [];
    private readonly Dictionary<(int Left, int Right), HashSet<int>> _places = [];
    private readonly PriorityQueue<(int Left, int Right), (long Rarity, int Left, int Right)> _queue = new();

    private BpeTrainer(Dictionary<string, long> words)
    {
        foreach ((int id, string token) in _vocab.Index())
            _ids[token] = id;
        foreach ((string word, long count) in words.OrderBy(static w => w.Key, StringComparer.Ordinal))
        {
            int[] symbols = [.. word.Select(c => _ids[c.ToString()])];
            _words.Add((symbols, symbols.Length, count));
            Count(_words.Count - 1, 1);
        }
        foreach ((int, int) pair in _counts.Keys)
            Enqueue(pair);
    }

    /// <param name="texts">What to learn from.</param>
    /// <param name="vocabSize">The tokenizer's, special tokens included; it stays smaller where no pair is left that occurs twice.</param>
    /// <param name="specialTokens">Tokens with the last ids, in this order, such as one for the end of a text; they are cut out of the texts.</param>
    /// <param name="pattern">What a word is, as a regular expression; null for GPT-2's.</param>
    /// <param name="before">The special token that every text begins with, so that a model can tell a beginning from a piece; null for none.</param>
    /// <exception cref="ArgumentException">The vocabulary has no room for the bytes and the special tokens, or the pattern is not supported.</exception>
    public static Tokenizer Train(IEnumerable<string> texts, int vocabSize, IReadOnlyList<string>? specialTokens = null, string? pattern = null,
        string? before = null)
    {
        IReadOnlyList<string> special = specialTokens ?? [];
        if (special.Any(static s => s.Length == 0) || special.Distinct().Count() != special.Count)
            throw new ArgumentException("a special token is empty or given twice");
        if (before is not null && !special.Contains(before))
            throw new ArgumentException($"'{before}' is to stand before a text but is no special token");
        if (vocabSize < 256 + special.Count)
            throw new ArgumentException($"a vocabulary of {vocabSize} tokens has no room for the 256 bytes and {special.Count} special tokens");
        BpeTrainer trainer = new([]);
        trainer = new BpeTrainer(CountWords(texts, trainer.Write(special, pattern, null)));
        while (trainer._vocab.Count < vocabSize - special.Count && trainer.MergeNext())
        {
        }
        return trainer.Write(special, pattern, before);
    }

    private static Dictionary<string, long> CountWords(IEnumerable<string> texts, Tokenizer cutter)
    {
        Dictionary<string, long> words = [];
        foreach (string text in texts)
            foreach ((int? id, string word) in cutter.Words(text))
                if (id is null)
                    CollectionsMarshal.GetValueRefOrAddDefault(words, word, out _)++;
        return words;
    }

    private Tokenizer Write(IReadOnlyList<string> special, string? pattern, string? before)
    {
        try
        {
            return Tokenizer.Parse(TokenizerJson.Bytes(_vocab, _merges, special, pattern, before));
        }
        catch (Tensors.Checkpoints.CheckpointException e)
        {
            throw new ArgumentException(e.Message, e);
        }
    }

    /// <summary>False where no pair occurs often enough.</summary>
    private bool MergeNext()
    {
        while (_queue.TryDequeue(out (int Left, int Right) pair, out (long Rarity, int, int) priority))
        {
            long count = _counts.GetValueOrDefault(pair);
            if (count == -priority.Rarity)
            {
                Merge(pair);
                return true;
            }
            if (count < -priority.Rarity)
                Enqueue(pair);   // it lost places since
        }
        return false;
    }

    private void Merge((int Left, int Right) pair)
    {
        string token = _vocab[pair.Left] + _vocab[pair.Right];
        _merges.Add((_vocab[pair.Left], _vocab[pair.Right]));
        if (!_ids.TryGetValue(token, out int merged))   // a + bc may have been made as ab + c
        {
            merged = _ids[token] = _vocab.Count;
            _vocab.Add(token);
        }
        HashSet<(int, int)> grown = [];
        foreach (int word in _places[pair].ToArray())
        {
            Count(word, -1);
            (int[] symbols, int length, long count) = _words[word];
            int to = 0;
            for (int i = 0; i < length; i++)
                if (i + 1 < length && symbols[i] == pair.Left && symbols[i + 1] == pair.Right)
                    (symbols[to++], i) = (merged, i + 1);
                else
                    symbols[to++] = symbols[i];
            _words[word] = (symbols, to, count);
            Count(word, 1);
            for (int i = 0; i + 1 < to; i++)
                if (symbols[i] == merged || symbols[i + 1] == merged)
                    grown.Add((symbols[i], symbols[i + 1]));
        }
        foreach ((int, int) next in grown)
            Enqueue(next);
    }

    /// <summary>Adds a word's pairs (sign 1) or takes them away (sign -1).</summary>
    private void Count(int word, int sign)
    {
        (int[] symbols, int length, long count) = _words[word];
        for (int i = 0; i + 1 < length; i++)
        {
            (int, int) pair = (symbols[i], symbols[i + 1]);
            CollectionsMarshal.GetValueRefOrAddDefault(_counts, pair, out _) += sign * count;
            ref HashSet<int>? places = ref CollectionsMarshal.GetValueRefOrAddDefault(_places, pair, out _);
            places ??= [];
            if (sign > 0)
                places.Add(word);
            else
                places.Remove(word);
        }
    }

    private void Enqueue((int Left, int Right) pair)
    {
        if (_counts[pair] is >= LeastFrequency and var count)
            _queue.Enqueue(pair, (-count, pair.Left, pair.Right));
    }
}
