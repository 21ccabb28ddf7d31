using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>The texts of new tokenizer.json files, as Hugging Face's tokenizers reads them.</summary>
internal static class TokenizerJson
{
    public static readonly JsonSerializerOptions Layout = new() { WriteIndented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>One token per character.</summary>
    public static string Characters(IEnumerable<Rune> characters) =>
        Write([], null, new JsonObject { ["type"] = "Fuse" }, characters.Select(static c => c.ToString()), []);

    /// <summary>BPE on bytes; the special tokens' ids come after the vocabulary's.</summary>
    /// <param name="pattern">What a word is; null for GPT-2's.</param>
    /// <param name="before">The special token to put before a text; null for none.</param>
    public static string Bytes(IReadOnlyList<string> vocab, IEnumerable<(string Left, string Right)> merges, IReadOnlyList<string> special, string? pattern,
        string? before)
    {
        JsonArray added = [.. special.Index().Select(token => Added(vocab.Count + token.Index, token.Item, special: true))];
        JsonObject? template = before is null ? null : Before(before, vocab.Count + special.ToList().IndexOf(before));
        return Write(added, Cut(pattern), Level(cuts: true), vocab, merges, template);
    }

    /// <summary>The template that puts a token before a text, and before the second of two.</summary>
    private static JsonObject Before(string token, int id)
    {
        return new JsonObject
        {
            ["type"] = "TemplateProcessing",
            ["single"] = new JsonArray(Token(0), Text("A", 0)),
            ["pair"] = new JsonArray(Token(0), Text("A", 0), Token(1), Text("B", 1)),
            ["special_tokens"] = new JsonObject
            {
                [token] = new JsonObject { ["id"] = token, ["ids"] = new JsonArray(id), ["tokens"] = new JsonArray(token) },
            },
        };

        JsonObject Token(int type) => new() { ["SpecialToken"] = new JsonObject { ["id"] = token, ["type_id"] = type } };
        static JsonObject Text(string name, int type) => new() { ["Sequence"] = new JsonObject { ["id"] = name, ["type_id"] = type } };
    }

    /// <summary>A pre_tokenizer for BPE on bytes.</summary>
    /// <param name="pattern">What a word is; null for GPT-2's.</param>
    /// <param name="thenGpt2">The pattern's words are then cut into GPT-2's.</param>
    public static JsonObject Cut(string? pattern, bool thenGpt2 = false) => pattern is null ? Level(cuts: true) : new JsonObject
    {
        ["type"] = "Sequence",
        ["pretokenizers"] = new JsonArray(
            new JsonObject
            {
                ["type"] = "Split",
                ["pattern"] = new JsonObject { ["Regex"] = pattern },
                ["behavior"] = "Isolated",
                ["invert"] = false,
            },
            Level(thenGpt2)),
    };

    /// <summary>The step that spells bytes as characters, as a pre_tokenizer, and back, as a decoder.</summary>
    /// <param name="cuts">It cuts a text into GPT-2's words before.</param>
    public static JsonObject Level(bool cuts) => new()
    {
        ["type"] = "ByteLevel",
        ["add_prefix_space"] = false,
        ["trim_offsets"] = true,
        ["use_regex"] = cuts,
    };

    /// <summary>An entry of added_tokens.</summary>
    public static JsonObject Added(int id, string token, bool special) => new()
    {
        ["id"] = id,
        ["content"] = token,
        ["single_word"] = false,
        ["lstrip"] = false,
        ["rstrip"] = false,
        ["normalized"] = false,
        ["special"] = special,
    };

    private static string Write(JsonArray added, JsonNode? preTokenizer, JsonNode decoder, IEnumerable<string> tokens,
        IEnumerable<(string Left, string Right)> merges, JsonObject? template = null)
    {
        JsonObject vocab = [];
        foreach ((int id, string token) in tokens.Index())
            vocab[token] = id;
        return new JsonObject
        {
            ["version"] = "1.0",
            ["added_tokens"] = added,
            ["normalizer"] = null,
            ["pre_tokenizer"] = preTokenizer,
            ["post_processor"] = template,
            ["decoder"] = decoder,
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["unk_token"] = null,
                ["vocab"] = vocab,
                ["merges"] = new JsonArray([.. merges.Select(JsonNode (m) => $"{m.Left} {m.Right}")]),
            },
        }.ToJsonString(Layout);
    }
}
