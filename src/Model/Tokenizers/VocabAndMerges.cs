using System.Text.Json;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// GPT-2's two files: vocab.json, {token: id} in <see cref="ByteLevel"/>'s spelling, and merges.txt, a merge on each line, first
/// come first served. They do not say how a text is cut into words: the tokenizer_class of tokenizer_config.json does, and GPT-2's is the rule.
/// </summary>
internal static class VocabAndMerges
{
    private const string EndOfText = "<|endoftext|>";

    /// <exception cref="InvalidDataException">The files contradict each other, or are of a class whose words are not known.</exception>
    public static TokenizerParts Parts(JsonElement vocab, Func<Dictionary<string, int>, Dictionary<(int, int), (int, int)>> merges, TokenizerConfig config)
    {
        (WordPattern words, Func<string, string> normalize) = config.Class switch
        {
            null or "GPT2Tokenizer" or "CodeGenTokenizer" => (WordPattern.Gpt2, static text => text),
            "Qwen2Tokenizer" => (WordPattern.Parse(KnownWords.Qwen), (Func<string, string>)Nfc.Normalize),
            var other => throw new InvalidDataException($"the words of a {other} are not known: give a tokenizer.json, or the tokenizer_class GPT2Tokenizer or Qwen2Tokenizer"),
        };
        Dictionary<string, int> ids = BpeModel.ReadVocab(vocab);
        return new TokenizerParts(new BpeModel(ids, merges(ids)) { Unknown = config.Unknown is { } unknown && ids.TryGetValue(unknown, out int id) ? id : null })
        {
            Normalize = normalize,
            Cut = PreTokenizer.Bytes(words, config.AddPrefixSpace ?? false),
            Added = config.AddedTo(ids, [EndOfText]),
            Template = config.Around(ids, bos: -1, eos: -1, addBos: false),
            Decoders = Decoder.Bytes,
        };
    }

    /// <summary>The merges of a merges.txt.</summary>
    /// <exception cref="InvalidDataException">A line is not one of two tokens that together are one.</exception>
    public static Dictionary<(int, int), (int, int)> Merges(string text, Dictionary<string, int> ids)
    {
        IEnumerable<string> lines = text.Split('\n').Select(static line => line.TrimEnd('\r'));
        return BpeModel.Merges(lines.Where(static (line, i) => line.Length > 0 && !(i == 0 && line.StartsWith("#version", StringComparison.Ordinal)))
            .Select(static line => (line.Split(' '), $"'{line}'")), ids);
    }
}
