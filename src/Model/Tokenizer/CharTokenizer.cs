using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tokenizer;

/// <summary>
/// One token per Unicode character, ids in the order of the code points. Stored as the tokenizer.json that Hugging Face's
/// tokenizers reads: a BPE model without merges splits a text into its characters.
/// </summary>
public sealed class CharTokenizer
{
    public const string FileName = "tokenizer.json";

    private const int MaxBytes = 64 << 20;
    private readonly Rune[] _characters;
    private readonly Dictionary<Rune, int> _ids;

    private CharTokenizer(Rune[] characters)
    {
        _characters = characters;
        _ids = characters.Index().ToDictionary(static c => c.Item, static c => c.Index);
    }

    public int VocabSize => _characters.Length;

    /// <summary>A vocabulary of all characters that occur in a text.</summary>
    /// <exception cref="ArgumentException">The text is empty.</exception>
    public static CharTokenizer Train(string text) => text.Length == 0
        ? throw new ArgumentException("a vocabulary cannot be made from an empty text")
        : new CharTokenizer([.. text.EnumerateRunes().Distinct().Order()]);

    /// <exception cref="ArgumentException">The text has a character that is not in the vocabulary.</exception>
    public int[] Encode(string text)
    {
        List<int> ids = new(text.Length);
        foreach (Rune c in text.EnumerateRunes())
            ids.Add(_ids.TryGetValue(c, out int id) ? id
                : throw new ArgumentException($"the model's vocabulary has no character '{c}' (U+{c.Value:X4})"));
        return [.. ids];
    }

    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(ReadOnlySpan<int> ids)
    {
        StringBuilder text = new();
        foreach (int id in ids)
            text.Append((uint)id < (uint)_characters.Length
                ? _characters[id].ToString()
                : throw new ArgumentOutOfRangeException(nameof(ids), $"the vocabulary has {VocabSize} characters, there is no id {id}"));
        return text.ToString();
    }

    /// <summary>The content of tokenizer.json.</summary>
    public string ToJson()
    {
        JsonObject vocab = [];
        foreach ((int id, Rune c) in _characters.Index())
            vocab[c.ToString()] = id;
        JsonObject json = new()
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray(),
            ["normalizer"] = null,
            ["pre_tokenizer"] = null,
            ["post_processor"] = null,
            ["decoder"] = new JsonObject { ["type"] = "Fuse" },
            ["model"] = new JsonObject { ["type"] = "BPE", ["unk_token"] = null, ["vocab"] = vocab, ["merges"] = new JsonArray() },
        };
        return json.ToJsonString(new JsonSerializerOptions { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    /// <summary>Reads a tokenizer.json at character level.</summary>
    /// <exception cref="CheckpointException">Not such a file, or a tokenizer of another kind.</exception>
    public static CharTokenizer Load(string path)
    {
        if (new FileInfo(path).Length > MaxBytes)
            throw new CheckpointException(path, "is too large for a tokenizer");
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { AllowDuplicateProperties = false });
            JsonElement model = document.RootElement.GetProperty("model");
            JsonElement vocab = model.GetProperty("vocab");
            if (model.GetProperty("type").GetString() != "BPE" || model.GetProperty("merges").GetArrayLength() > 0)
                throw new CheckpointException(path, "only character-level tokenizers are supported so far; give token ids instead");
            Rune[] characters = new Rune[vocab.EnumerateObject().Count()];
            bool[] seen = new bool[characters.Length];
            foreach (JsonProperty entry in vocab.EnumerateObject())
            {
                int id = entry.Value.GetInt32();
                if ((uint)id >= (uint)characters.Length || seen[id] || Rune.DecodeFromUtf16(entry.Name, out Rune c, out int used) != System.Buffers.OperationStatus.Done
                    || used != entry.Name.Length)
                    throw new CheckpointException(path, $"the vocabulary entry \"{entry.Name}\": {entry.Value.GetRawText()} is not one character with an id of its own");
                (characters[id], seen[id]) = (c, true);
            }
            return new CharTokenizer(characters);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new CheckpointException(path, $"is not a tokenizer: {e.Message}", inner: e);
        }
    }
}
