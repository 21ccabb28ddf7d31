using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Gguf;

/// <summary>A GGUF file's tokenizer: <c>tokenizer.ggml.*</c>.</summary>
internal static class GgufTokenizer
{
    public const string Template = "tokenizer.chat_template";

    public const string Model = "tokenizer.ggml.model", Pre = "tokenizer.ggml.pre", AddBos = "tokenizer.ggml.add_bos_token", AddEos = "tokenizer.ggml.add_eos_token";

    private const string Tokens = "tokenizer.ggml.tokens", Types = "tokenizer.ggml.token_type", Merges = "tokenizer.ggml.merges";

    private const string ByteLevel = "gpt2", None = "no_vocab", Digit = @"\p{N}";

    /// <summary>The file's tokenizer, or null where it has none.</summary>
    /// <exception cref="CheckpointException">It is of a kind that is not supported, or breaks a rule.</exception>
    public static Tokenizer? Read(GgufMetadata metadata)
    {
        if (!metadata.Has(Model))
            return null;
        switch (metadata.String(Model))
        {
            case None or "none":
                return null;
            case ByteLevel:
                return ReadByteLevel(metadata);
            case GgufSentencePiece.Name:
                (string[] tokens, PieceKind[] kinds) = ReadTokens(metadata);
                return GgufSentencePiece.Read(metadata, tokens, kinds);
            case var other:
                throw new CheckpointException(metadata.Path, $"{Model} '{other}' is not supported; supported are {ByteLevel}, {GgufSentencePiece.Name} and {None}");
        }
    }

    /// <summary>Byte-level BPE, as the tokenizer.json that says the same.</summary>
    private static Tokenizer ReadByteLevel(GgufMetadata metadata)
    {
        string name = metadata.String(Pre, absent: "default");
        GgufPreTokenizer pre = GgufPreTokenizer.Find(name) ?? throw new CheckpointException(metadata.Path,
            $"{Pre} '{name}' is not supported; supported are {string.Join(", ", GgufPreTokenizer.All.Select(static p => p.Name))}");
        (string[] tokens, PieceKind[] kinds) = ReadTokens(metadata);
        JsonObject vocab = [];
        List<JsonNode> added = [];
        HashSet<string> seen = new(StringComparer.Ordinal);
        foreach ((int id, string token) in tokens.Index())
        {
            if (kinds[id] == PieceKind.Unused || token.Length == 0)
                continue;
            if (!seen.Add(token))
                throw new CheckpointException(metadata.Path, $"{Tokens} has {CheckpointQuote(token)} twice");
            if (kinds[id] == PieceKind.Normal)
                vocab.Add(token, id);
            else
                added.Add(TokenizerJson.Added(id, token, special: kinds[id] != PieceKind.UserDefined));
        }
        JsonObject json = new()
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray([.. added]),
            ["normalizer"] = pre.Nfc ? new JsonObject { ["type"] = "NFC" } : null,
            ["pre_tokenizer"] = pre.Digits ? TokenizerJson.Cut(Digit, thenGpt2: true) : TokenizerJson.Cut(pre.Pattern),
            ["post_processor"] = Around(metadata, tokens, addsBos: pre.AddsBos),
            ["decoder"] = TokenizerJson.Level(cuts: true),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["unk_token"] = null,
                ["ignore_merges"] = pre.IgnoreMerges,
                ["vocab"] = vocab,
                ["merges"] = new JsonArray([.. metadata.Strings(Merges).Select(static m => (JsonNode)m)]),
            },
        };
        return Tokenizer.Parse(json.ToJsonString(TokenizerJson.Layout), metadata.Path);
    }

    private static (string[] Tokens, PieceKind[] Kinds) ReadTokens(GgufMetadata metadata)
    {
        string[] tokens = metadata.Strings(Tokens);
        if (!metadata.Has(Types))
            return (tokens, [.. tokens.Select(static _ => PieceKind.Normal)]);
        long[] types = metadata.Integers(Types);
        return types.Length == tokens.Length
            ? (tokens, [.. types.Select(static t => t is >= (long)PieceKind.Normal and <= (long)PieceKind.Byte ? (PieceKind)t : PieceKind.Normal)])
            : throw new CheckpointException(metadata.Path, $"{Types} has {types.Length} values, {Tokens} {tokens.Length}");
    }

    /// <summary>The template with the tokens that go before and after a text; null for none.</summary>
    private static JsonObject? Around(GgufMetadata metadata, string[] tokens, bool addsBos)
    {
        List<JsonNode> single = [];
        JsonObject special = [];
        Put(AddBos, addsBos, GgufConfig.Bos);
        single.Add(new JsonObject { ["Sequence"] = new JsonObject { ["id"] = "A", ["type_id"] = 0 } });
        Put(AddEos, false, GgufConfig.Eos[0]);
        return single.Count == 1 ? null : new JsonObject
        {
            ["type"] = "TemplateProcessing",
            ["single"] = new JsonArray([.. single]),
            ["special_tokens"] = special,
        };

        void Put(string flag, bool absent, string key)
        {
            if (!metadata.Bool(flag, absent))
                return;
            int id = (int)metadata.Integer(key, max: tokens.Length - 1);
            single.Add(new JsonObject { ["SpecialToken"] = new JsonObject { ["id"] = tokens[id], ["type_id"] = 0 } });
            special[tokens[id]] = new JsonObject { ["id"] = tokens[id], ["ids"] = new JsonArray(id), ["tokens"] = new JsonArray(tokens[id]) };
        }
    }

    /// <summary>Adds a tokenizer, or that there is none.</summary>
    /// <param name="vocabSize">The model's.</param>
    /// <param name="eos">The ids that end a text, as <see cref="GgufConfig.WriteEnds"/> writes them.</param>
    /// <returns>The id of the token that it puts before a text, or null.</returns>
    /// <exception cref="ArgumentException">The format has no words for it.</exception>
    public static int? Write(GgufMetadataBuilder metadata, Tokenizer? tokenizer, int vocabSize, IReadOnlyList<int> eos)
    {
        if (tokenizer is null)
        {
            metadata.Add(Model, None);
            return null;
        }
        if (tokenizer.VocabSize > vocabSize)
            throw Refuse($"has {tokenizer.VocabSize} tokens for a model's vocabulary of {vocabSize}");
        Template template = WriteKind(metadata, tokenizer, vocabSize);
        if (template.Before.Length > 1 || template.After.Length > 1 || (template.After is [var end] && eos.FirstOrDefault(-1) != end))
            throw Refuse("puts other tokens around a text than one for the beginning and one for the end");
        metadata.Add(AddBos, template.Before.Length == 1);
        metadata.Add(AddEos, template.After.Length == 1);
        return template.Before is [var begin] ? begin : null;
    }

    /// <returns>What goes around a text.</returns>
    private static Template WriteKind(GgufMetadataBuilder metadata, Tokenizer tokenizer, int count)
    {
        if (tokenizer.Files[0].Name == "tokenizer.model")
            return GgufSentencePiece.Write(metadata, tokenizer.Files, count);
        if (tokenizer.Files[0].Name != Tokenizer.FileName)
            throw Refuse($"was read from {tokenizer.Files[0].Name}, not from a {Tokenizer.FileName} or a tokenizer.model");
        using JsonDocument document = JsonDocument.Parse(tokenizer.ToJson());
        JsonElement json = document.RootElement, model = json.GetProperty("model");
        if (json.Find("decoder")?.Text("type") != "ByteLevel")
            return GgufSentencePiece.Write(metadata, json, count);
        metadata.Add(Model, ByteLevel);
        metadata.Add(Pre, Recognise(json, model.Flag("ignore_merges")).Name);
        WriteTokens(metadata, model, json.Find("added_tokens"), count);
        metadata.Add(Merges, [.. model.GetProperty("merges").EnumerateArray().Select(static m => string.Join(' ', Pair(m)))]);
        return Tokenizers.Template.Read(json.Find("post_processor"));
    }

    /// <summary>The two tokens of a merge, written as one string or as two.</summary>
    public static string[] Pair(JsonElement merge) => merge.ValueKind == JsonValueKind.String
        ? merge.GetString()!.Split(' ') : [.. merge.EnumerateArray().Select(static part => part.GetString()!)];

    private static void WriteTokens(GgufMetadataBuilder metadata, JsonElement model, JsonElement? added, int count)
    {
        string[] tokens = [.. Enumerable.Range(0, count).Select(static i => $"[PAD{i}]")];
        PieceKind[] kinds = [.. Enumerable.Repeat(PieceKind.Unused, count)];
        foreach (JsonProperty token in model.GetProperty("vocab").EnumerateObject())
            (tokens[token.Value.GetInt32()], kinds[token.Value.GetInt32()]) = (token.Name, PieceKind.Normal);
        foreach (JsonElement token in added?.EnumerateArray() ?? default)
        {
            AddedToken one = AddedToken.Read(token, token.GetProperty("id").Id());
            RequirePlain(one);
            (tokens[one.Id], kinds[one.Id]) = (one.Content, token.Flag("special") ? PieceKind.Control : PieceKind.UserDefined);
        }
        WriteTokens(metadata, tokens, kinds);
    }

    public static void WriteTokens(GgufMetadataBuilder metadata, string[] tokens, PieceKind[] kinds)
    {
        if (tokens.GroupBy(static t => t, StringComparer.Ordinal).FirstOrDefault(static g => g.Count() > 1) is { } twice)
            throw Refuse($"has '{twice.Key}' twice");
        metadata.Add(Tokens, tokens);
        metadata.Add(Types, [.. kinds.Select(static k => (int)k)]);
    }

    public static void RequirePlain(AddedToken token)
    {
        if (token.SingleWord || token.StripsLeft || token.StripsRight)
            throw Refuse($"has the added token '{token.Content}' with {(token.SingleWord ? "single_word" : token.StripsLeft ? "lstrip" : "rstrip")}");
    }

    /// <summary>The name for what a tokenizer does before its merges.</summary>
    private static GgufPreTokenizer Recognise(JsonElement json, bool ignoresMerges)
    {
        string? normalizer = json.Find("normalizer")?.Text("type");
        if (normalizer is not (null or "NFC"))
            throw Refuse($"has a normalizer of the type {normalizer}");
        List<JsonElement> steps = [.. Steps(json.Find("pre_tokenizer"))];
        if (steps.Count is 0 or > 2 || steps[^1].Text("type") != "ByteLevel" || steps[^1].GetProperty("add_prefix_space").GetBoolean())
            throw Refuse("cuts texts in a way that has no name");
        bool cuts = steps[^1].Flag("use_regex", absent: true);
        string? split = steps.Count == 1 ? null : Pattern(steps[0]);
        return GgufPreTokenizer.All.FirstOrDefault(p => p.Nfc == (normalizer is not null) && p.IgnoreMerges == ignoresMerges
                && cuts == p.Pattern is null && split == (p.Digits ? Digit : p.Pattern))
            ?? throw Refuse($"cuts texts in a way that has no name{(split is null ? "" : $", by {split}")}{(normalizer is null ? "" : ", after NFC")}");

        static IEnumerable<JsonElement> Steps(JsonElement? step) => step is not { } one ? []
            : one.Text("type") == "Sequence" ? one.GetProperty("pretokenizers").EnumerateArray().SelectMany(static s => Steps(s)) : [one];

        // The patterns that have names match every character, so that it makes no difference whether the rest is a part or removed.
        static string? Pattern(JsonElement step) => step.Text("type") == "Split" && step.GetProperty("pattern").TryGetProperty("Regex", out JsonElement regex)
            && (step.Text("behavior"), step.Flag("invert")) is ("Isolated", _) or ("Removed", true) ? regex.GetString() : "a step of another kind";
    }

    public static ArgumentException Refuse(string what) => new($"a GGUF file cannot hold this tokenizer, which {what}; leave it out with --no-tokenizer");

    private static string CheckpointQuote(string text) => $"'{(text.Length > 60 ? text[..60] + "…" : text)}'";
}
