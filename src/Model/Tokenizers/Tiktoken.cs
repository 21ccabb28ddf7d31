using System.Buffers;
using System.Buffers.Text;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// tiktoken's files: on each line a token's bytes in base64 and its rank, which is its id too. Neighbours that together are a token
/// merge, the lowest rank first. The file does not say how a text is cut into words nor which special tokens there are: its name does.
/// </summary>
internal static class Tiktoken
{
    public const string Extension = ".tiktoken";

    /// <summary>As in GPT-4's vocabulary; the longest token there is 128 spaces.</summary>
    private const int LongestToken = 1024;

    private const int QwenSpecial = 151_643, QwenExtras = 205;

    private sealed record Encoding(WordPattern Words, IReadOnlyList<AddedToken> Special);

    private static Encoding Gpt2 => new(WordPattern.Gpt2, [new(50_256, "<|endoftext|>")]);

    /// <summary>How files of these names are meant.</summary>
    private static readonly Dictionary<string, Func<Encoding>> Known = new(StringComparer.Ordinal)
    {
        ["gpt2"] = static () => Gpt2,
        ["r50k_base"] = static () => Gpt2,
        ["p50k_base"] = static () => Gpt2,
        ["cl100k_base"] = static () => new(WordPattern.Parse(KnownWords.Gpt4),
            [new(100_257, "<|endoftext|>"), new(100_258, "<|fim_prefix|>"), new(100_259, "<|fim_middle|>"), new(100_260, "<|fim_suffix|>"), new(100_276, "<|endofprompt|>")]),
        ["o200k_base"] = static () => new(WordPattern.Parse(KnownWords.Gpt4o), [new(199_999, "<|endoftext|>"), new(200_018, "<|endofprompt|>")]),
        ["qwen"] = static () => new(WordPattern.Parse(KnownWords.Qwen),
        [
            new(QwenSpecial, "<|endoftext|>"), new(QwenSpecial + 1, "<|im_start|>"), new(QwenSpecial + 2, "<|im_end|>"),
            .. Enumerable.Range(0, QwenExtras).Select(static i => new AddedToken(QwenSpecial + 3 + i, $"<|extra_{i}|>")),
        ]),
    };

    /// <param name="name">The file's name without its extension.</param>
    /// <param name="file">Its bytes.</param>
    /// <exception cref="InvalidDataException">The file is broken, or its name says nothing.</exception>
    public static TokenizerParts Parts(string name, ReadOnlySpan<byte> file, TokenizerConfig config)
    {
        if (config.Class == "QWenTokenizer")
            name = "qwen";
        if (!Known.TryGetValue(name, out Func<Encoding>? known))
            throw new InvalidDataException($"'{name}' does not say how texts are cut into words: name the file after the encoding it goes with "
                + $"({string.Join(", ", Known.Keys)}), or give a tokenizer.json");
        Encoding encoding = known();
        Dictionary<string, int> ids = ReadRanks(file);
        for (int b = 0; b < 256; b++)
            if (!ids.ContainsKey(ByteLevel.Spell([(byte)b])))
                throw new InvalidDataException($"the byte 0x{b:X2} has no rank");
        // fixed by the name, unless the configuration has others; those that a shortened vocabulary gave to tokens are gone
        HashSet<int> taken = [.. ids.Values];
        List<AddedToken> added = config.AddedTo(ids, []);
        added.AddRange(encoding.Special.Where(s => !taken.Contains(s.Id) && added.All(a => a.Id != s.Id && a.Content != s.Content)).ToArray());
        return new TokenizerParts(new BpeModel(ids, BpeModel.AllMerges(ids.Select(static t => (t.Key, t.Value, t.Value)), ids, unlisted: false)) { IgnoreMerges = true })
        {
            Cut = PreTokenizer.Bytes(encoding.Words, prefix: false),
            Added = added,
            Template = config.Around(added.ToDictionary(static t => t.Content, static t => t.Id), bos: -1, eos: -1, addBos: false),
            Decoders = Decoder.Bytes,
        };
    }

    private static Dictionary<string, int> ReadRanks(ReadOnlySpan<byte> file)
    {
        Dictionary<string, int> ids = [];
        HashSet<int> ranks = [];
        Span<byte> token = stackalloc byte[LongestToken];
        for (int line = 1; !file.IsEmpty; line++)
        {
            int end = file.IndexOf((byte)'\n');
            ReadOnlySpan<byte> text = (end < 0 ? file : file[..end]).TrimEnd((byte)'\r');
            file = end < 0 ? [] : file[(end + 1)..];
            if (text.IsEmpty)
                continue;
            int space = text.IndexOf((byte)' ');
            if (space <= 0 || Base64.DecodeFromUtf8(text[..space], token, out int used, out int length) != OperationStatus.Done || used != space || length == 0)
                throw new InvalidDataException($"line {line} does not begin with up to {LongestToken} bytes in base64 and a space");
            if (!Utf8Parser.TryParse(text[(space + 1)..], out int rank, out used) || used != text.Length - space - 1 || rank is < 0 or >= Families.ConfigJson.MaxDimension)
                throw new InvalidDataException($"line {line} does not end with a rank between 0 and {Families.ConfigJson.MaxDimension - 1}");
            if (!ids.TryAdd(ByteLevel.Spell(token[..length]), rank) || !ranks.Add(rank))
                throw new InvalidDataException($"line {line} has the token or the rank {rank} of another line");
        }
        return ids;
    }
}
