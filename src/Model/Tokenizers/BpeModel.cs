using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// Byte-pair encoding (Sennrich et al., 2016): a word begins as its characters, and the neighbours that come first in the list
/// of merges become one, again and again.
/// </summary>
internal sealed class BpeModel
{
    private const int MostCachedWords = 1 << 16, LongestCachedWord = 64;

    private readonly Dictionary<string, int> _ids;
    private readonly Dictionary<(int Left, int Right), (int Rank, int Id)> _merges;
    private readonly int[]? _bytes;   // ids of <0x00> to <0xFF>
    private readonly int? _unknown;
    private readonly bool _fuseUnknown, _ignoreMerges;
    private readonly Dictionary<string, int[]> _cache = [];
    private readonly Lock _cacheLock = new();

    /// <exception cref="InvalidDataException">Not a BPE model, or one with parts that are not supported.</exception>
    public BpeModel(JsonElement json)
    {
        if (json.Text("type") != "BPE")
            throw JsonReading.Unsupported("model", json);
        foreach (string affix in new[] { "continuing_subword_prefix", "end_of_word_suffix" })
            if (json.Find(affix)?.GetString() is { Length: > 0 })
                throw new InvalidDataException($"a model with '{affix}' is not supported");
        if (json.Find("dropout")?.GetDouble() is > 0)
            throw new InvalidDataException("a model with 'dropout' is not supported");

        _ids = ReadVocab(json.GetProperty("vocab"));
        _merges = ReadMerges(json.GetProperty("merges"));
        _fuseUnknown = json.Flag("fuse_unk");
        _ignoreMerges = json.Flag("ignore_merges");
        if (json.Find("unk_token")?.GetString() is { } unknown)
            _unknown = _ids.TryGetValue(unknown, out int id) ? id : throw new InvalidDataException($"the vocabulary has no unk_token '{unknown}'");
        if (json.Flag("byte_fallback"))
            _bytes = [.. Enumerable.Range(0, 256).Select(b => _ids.TryGetValue($"<0x{b:X2}>", out int id)
                ? id
                : throw new InvalidDataException($"byte_fallback is set, but the vocabulary has no <0x{b:X2}>"))];
    }

    public IReadOnlyDictionary<string, int> Ids => _ids;

    /// <summary>Appends a word's ids.</summary>
    /// <exception cref="ArgumentException">A character is not in the vocabulary, and there is no token for unknown ones.</exception>
    public void Encode(string word, List<int> ids)
    {
        if (word.Length > LongestCachedWord)
        {
            ids.AddRange(Merge(word));
            return;
        }
        int[]? known;
        lock (_cacheLock)
            _cache.TryGetValue(word, out known);
        if (known is null)
        {
            known = Merge(word);
            lock (_cacheLock)
            {
                if (_cache.Count == MostCachedWords)
                    _cache.Clear();
                _cache[word] = known;
            }
        }
        ids.AddRange(known);
    }

    /// <summary>O(n log n): a linked list of the symbols and a queue of the pairs that may merge, first in the list first, then leftmost.</summary>
    private int[] Merge(string word)
    {
        if (_ignoreMerges && _ids.TryGetValue(word, out int whole))
            return [whole];
        List<int> symbols = Symbols(word);
        if (_merges.Count == 0)
            return [.. symbols];
        Span<int> id = CollectionsMarshal.AsSpan(symbols);
        int[] next = [.. Enumerable.Range(1, id.Length)], previous = [.. Enumerable.Range(-1, id.Length)];
        PriorityQueue<(int At, int Left, int Right), (int Rank, int At)> queue = new();
        for (int i = 0; i + 1 < id.Length; i++)
            Offer(i, id, next);
        while (queue.TryDequeue(out (int At, int Left, int Right) pair, out _))
        {
            int at = pair.At, right = next[at];
            if (id[at] != pair.Left || right >= id.Length || id[right] != pair.Right)
                continue;   // one of the two has merged with another since
            id[at] = _merges[(pair.Left, pair.Right)].Id;
            id[right] = -1;
            next[at] = next[right];
            if (next[at] < id.Length)
                previous[next[at]] = at;
            Offer(at, id, next);
            if (previous[at] >= 0)
                Offer(previous[at], id, next);
        }
        symbols.RemoveAll(static s => s < 0);
        return [.. symbols];

        void Offer(int at, ReadOnlySpan<int> id, int[] next)
        {
            if (next[at] < id.Length && _merges.TryGetValue((id[at], id[next[at]]), out (int Rank, int Id) merge))
                queue.Enqueue((at, id[at], id[next[at]]), (merge.Rank, at));
        }
    }

    /// <summary>A word's characters; those that the vocabulary lacks as bytes, or as the token for unknown ones.</summary>
    private List<int> Symbols(string word)
    {
        List<int> symbols = new(word.Length);
        Span<byte> utf8 = stackalloc byte[4];
        bool afterUnknown = false;
        foreach (Rune c in word.EnumerateRunes())
        {
            bool unknown = false;
            if (_ids.TryGetValue(c.ToString(), out int id))
                symbols.Add(id);
            else if (_bytes is not null)
                foreach (byte b in utf8[..c.EncodeToUtf8(utf8)])
                    symbols.Add(_bytes[b]);
            else
            {
                unknown = true;
                int token = _unknown ?? throw new ArgumentException($"the model's vocabulary has no character '{c}' (U+{c.Value:X4})");
                if (!afterUnknown || !_fuseUnknown)
                    symbols.Add(token);
            }
            afterUnknown = unknown;
        }
        return symbols;
    }

    private static Dictionary<string, int> ReadVocab(JsonElement json)
    {
        Dictionary<string, int> ids = [];
        HashSet<int> seen = [];
        foreach (JsonProperty entry in json.EnumerateObject())
        {
            int id = entry.Value.Id();
            if (!seen.Add(id))
                throw new InvalidDataException($"the token '{entry.Name}' has the id {id} of another one");
            ids.Add(entry.Name, id);
        }
        return ids;
    }

    private Dictionary<(int, int), (int, int)> ReadMerges(JsonElement json)
    {
        Dictionary<(int, int), (int, int)> merges = [];
        foreach ((int rank, JsonElement merge) in json.EnumerateArray().Index())
        {
            string[] parts = merge.ValueKind == JsonValueKind.String
                ? merge.GetString()!.Split(' ')
                : [.. merge.EnumerateArray().Select(static part => part.GetString() ?? "")];
            if (parts is not [{ Length: > 0 } left, { Length: > 0 } right])
                throw new InvalidDataException($"the merge {merge.GetRawText()} is not one of two tokens");
            if (!_ids.TryGetValue(left, out int a) || !_ids.TryGetValue(right, out int b) || !_ids.TryGetValue(left + right, out int id))
                throw new InvalidDataException($"the merge {merge.GetRawText()} has a part or a result that is not in the vocabulary");
            merges[(a, b)] = (rank, id);
        }
        return merges;
    }
}
