using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Gguf;

/// <summary>
/// The tokenizers that GGUF files call <c>llama</c>: pieces with scores, merged by the highest. They are read as the tokenizer.model that
/// says the same, and written from one, or from a tokenizer.json whose merges are such pieces'.
/// </summary>
internal static class GgufSentencePiece
{
    public const string Name = "llama";

    private const string Scores = "tokenizer.ggml.scores", AddSpacePrefix = "tokenizer.ggml.add_space_prefix",
        RemoveExtra = "tokenizer.ggml.remove_extra_whitespaces", UnknownId = "tokenizer.ggml.unknown_token_id";

    private const char Space = '\u2581';
    private const float Added = -1000;   // a score for what is never merged

    /// <exception cref="CheckpointException">A key is missing or out of range, or the pieces contradict each other.</exception>
    public static Tokenizer Read(GgufMetadata metadata, string[] tokens, PieceKind[] kinds)
    {
        float[] scores = metadata.Numbers(Scores);
        if (scores.Length != tokens.Length)
            throw new CheckpointException(metadata.Path, $"{Scores} has {scores.Length} values for {tokens.Length} tokens");
        if (!kinds.Contains(PieceKind.Unknown) && metadata.Integer(UnknownId, absent: 0) is var unknown && unknown < kinds.Length)
            kinds[unknown] = PieceKind.Unknown;
        int count = tokens.Length;
        while (count > 0 && kinds[count - 1] == PieceKind.Unused)
            count--;
        // unused ones between others keep their places, and merge like others, as in llama.cpp
        Piece[] pieces = [.. Enumerable.Range(0, count).Select(i => new Piece(tokens[i], scores[i], kinds[i] == PieceKind.Unused ? PieceKind.Normal : kinds[i]))];
        int bos = Id(GgufConfig.Bos, 1), eos = Id(GgufConfig.Eos[0], 2);
        byte[] model = Message(pieces, bos, eos, prefix: metadata.Bool(AddSpacePrefix, absent: true), removeExtra: metadata.Bool(RemoveExtra, absent: false));
        JsonObject config = new()
        {
            ["add_bos_token"] = metadata.Bool(GgufTokenizer.AddBos, absent: true),
            ["add_eos_token"] = metadata.Bool(GgufTokenizer.AddEos, absent: false),
            ["bos_token"] = bos < 0 ? null : tokens[bos],
            ["eos_token"] = eos < 0 ? null : tokens[eos],
            ["legacy"] = true,   // each part between special tokens has its own space before it, as in llama.cpp
            ["tokenizer_class"] = "LlamaTokenizer",
        };
        TokenizerFile[] files =
        [
            new("tokenizer.model", model), new(TokenizerConfig.FileName, Encoding.UTF8.GetBytes(config.ToJsonString(TokenizerJson.Layout))),
        ];
        return TokenizerFile.Read(metadata.Path, () =>
        {
            using JsonDocument json = JsonDocument.Parse(files[1].Bytes);
            return new Tokenizer(SentencePiece.Parts(SentencePieceFile.Read(model), new TokenizerConfig(json.RootElement, null)), files);
        });

        int Id(string key, int absent) => metadata.Integer(key, max: int.MaxValue, absent: absent) is var id && id < count ? (int)id : -1;
    }

    /// <summary>From a tokenizer.model and what lies beside it.</summary>
    /// <returns>What goes around a text.</returns>
    /// <exception cref="ArgumentException">The format has no words for something in it.</exception>
    public static Template Write(GgufMetadataBuilder metadata, IReadOnlyList<TokenizerFile> files, int count)
    {
        SentencePieceFile file = SentencePieceFile.Read(files[0].Bytes);
        using JsonDocument? config = Document(TokenizerConfig.FileName), beside = Document(TokenizerConfig.AddedFileName);
        TokenizerConfig settings = new(config?.RootElement, beside?.RootElement);
        TokenizerParts parts = SentencePiece.Parts(file, settings);
        if (!file.ByteFallback)
            throw GgufTokenizer.Refuse("has no tokens for bytes");
        if (file.RemoveExtraWhitespaces || !file.EscapeWhitespaces)
            throw GgufTokenizer.Refuse("treats spaces in a way that has no name");
        List<Piece> pieces = [.. file.Pieces];
        foreach (AddedToken added in parts.Added.OrderBy(static t => t.Id))
        {
            GgufTokenizer.RequirePlain(added);
            if (added.Id < file.Pieces.Count)
                continue;
            while (pieces.Count < added.Id)
                pieces.Add(Padding(pieces.Count));
            pieces.Add(new Piece(added.Content, Added, PieceKind.Control));
        }
        Write(metadata, pieces, count, settings.AddPrefixSpace ?? file.AddDummyPrefix);
        return parts.Template;

        JsonDocument? Document(string name) => files.FirstOrDefault(f => f.Name == name) is { } found ? TokenizerFile.Json(found.Text) : null;
    }

    /// <summary>
    /// From a tokenizer.json with byte fallback. A piece's score is how early its first merge comes; that says the same where the merges of a
    /// piece follow each other and every two tokens that make up a third one merge, as they do in what was made from a tokenizer.model.
    /// </summary>
    /// <inheritdoc cref="Write(GgufMetadataBuilder, IReadOnlyList{TokenizerFile}, int)"/>
    public static Template Write(GgufMetadataBuilder metadata, JsonElement json, int count)
    {
        JsonElement model = json.GetProperty("model");
        Dictionary<string, int> vocab = BpeModel.ReadVocab(model.GetProperty("vocab"));
        if (!model.Flag("byte_fallback") || model.Find("unk_token")?.GetString() is not { } unknown || model.Flag("ignore_merges"))
            throw GgufTokenizer.Refuse("is neither a byte-level BPE nor one with tokens for bytes and for what is unknown");
        if (json.Find("pre_tokenizer") is not null)
            throw GgufTokenizer.Refuse("cuts texts before its merges");
        Piece[] pieces = [.. Enumerable.Range(0, count).Select(Padding)];
        foreach ((string token, int id) in vocab)
            pieces[id] = new Piece(token, Added, token == unknown ? PieceKind.Unknown : IsByte(token) ? PieceKind.Byte : PieceKind.Normal);
        foreach (JsonElement token in json.Find("added_tokens")?.EnumerateArray() ?? default)
        {
            AddedToken added = AddedToken.Read(token, token.GetProperty("id").Id());
            GgufTokenizer.RequirePlain(added);
            if (pieces[added.Id].Kind != PieceKind.Unknown)
                pieces[added.Id] = new Piece(added.Content, Added, token.Flag("special") ? PieceKind.Control : PieceKind.UserDefined);
        }
        SetScores(pieces, model.GetProperty("merges"), vocab);
        Write(metadata, pieces, count, Prefix(json.Find("normalizer")));
        return Template.Read(json.Find("post_processor"));
    }

    private static void SetScores(Piece[] pieces, JsonElement merges, Dictionary<string, int> vocab)
    {
        HashSet<(string, string)> listed = [];
        int rank = 0, last = -1;
        foreach (string[] pair in merges.EnumerateArray().Select(GgufTokenizer.Pair))
        {
            int id = vocab[pair[0] + pair[1]];
            if (id != last && pieces[id].Score != Added)
                throw GgufTokenizer.Refuse($"has merges of '{pieces[id].Text}' before and after those of other tokens");
            if (id != last)
                pieces[id] = pieces[id] with { Score = -rank };
            (rank, last) = (rank + 1, id);
            listed.Add((pair[0], pair[1]));
        }
        HashSet<string> normal = [.. pieces.Where(static p => p.Kind == PieceKind.Normal).Select(static p => p.Text)];
        foreach ((int id, Piece piece) in pieces.Index().Where(static p => p.Item.Kind == PieceKind.Normal))
        {
            for (int cut = 1; cut < piece.Text.Length; cut++)
                if (!char.IsLowSurrogate(piece.Text[cut]) && (piece.Text[..cut], piece.Text[cut..]) is var two && !listed.Contains(two)
                    && normal.Contains(two.Item1) && normal.Contains(two.Item2))
                    throw GgufTokenizer.Refuse($"does not merge '{two.Item1}' and '{two.Item2}', although '{piece.Text}' is a token");
            if (piece.Score == Added)
                pieces[id] = piece with { Score = -rank - id };
        }
    }

    /// <summary>Whether a space goes before a text: the normalizers that have a word are U+2581 for spaces, with one more before the text or without.</summary>
    private static bool Prefix(JsonElement? normalizer)
    {
        List<JsonElement> steps = normalizer is not { } one ? [] : one.Text("type") == "Sequence" ? [.. one.GetProperty("normalizers").EnumerateArray()] : [one];
        bool prefix = steps.Count == 2 && steps[0].Text("type") == "Prepend" && steps[0].Text("prepend") == $"{Space}";
        return steps.Count == (prefix ? 2 : 1) && steps[^1].Text("type") == "Replace" && steps[^1].Text("content") == $"{Space}"
            && steps[^1].GetProperty("pattern").TryGetProperty("String", out JsonElement from) && from.GetString() == " "
            ? prefix
            : throw GgufTokenizer.Refuse("has a normalizer that has no name");
    }

    private static void Write(GgufMetadataBuilder metadata, IReadOnlyList<Piece> pieces, int count, bool prefix)
    {
        Piece[] all = [.. pieces, .. Enumerable.Range(pieces.Count, Math.Max(0, count - pieces.Count)).Select(Padding)];
        metadata.Add(GgufTokenizer.Model, Name);
        metadata.Add(GgufTokenizer.Pre, "default");
        GgufTokenizer.WriteTokens(metadata, [.. all.Select(static p => p.Text)], [.. all.Select(static p => p.Kind)]);
        metadata.Add(Scores, [.. all.Select(static p => p.Score)]);
        metadata.Add(UnknownId, (uint)Array.FindIndex(all, static p => p.Kind == PieceKind.Unknown));
        metadata.Add(AddSpacePrefix, prefix);
    }

    private static Piece Padding(int id) => new($"[PAD{id}]", Added, PieceKind.Unused);

    private static bool IsByte(string token) =>
        token is ['<', '0', 'x', char high, char low, '>'] && char.IsAsciiHexDigitUpper(high) && char.IsAsciiHexDigitUpper(low);

    /// <summary>A tokenizer.model: SentencePiece's message of pieces (1), trainer (2) and normalizer (3).</summary>
    private static byte[] Message(IReadOnlyList<Piece> pieces, int bos, int eos, bool prefix, bool removeExtra)
    {
        using MemoryStream stream = new();
        foreach (Piece piece in pieces)
        {
            using MemoryStream one = new();
            Field(one, 1, Encoding.UTF8.GetBytes(piece.Text));
            one.WriteByte(2 << 3 | 5);
            one.Write(BitConverter.GetBytes(piece.Score));
            Field(one, 3, (ulong)piece.Kind);
            Field(stream, 1, one.ToArray());
        }
        using MemoryStream trainer = new(), normalizer = new();
        Field(trainer, 3, 2);   // BPE
        Field(trainer, 35, pieces.Any(static p => p.Kind == PieceKind.Byte) ? 1ul : 0);
        Field(trainer, 41, (ulong)bos);
        Field(trainer, 42, (ulong)eos);
        Field(stream, 2, trainer.ToArray());
        Field(normalizer, 1, "identity"u8);
        Field(normalizer, 3, prefix ? 1ul : 0);
        Field(normalizer, 4, removeExtra ? 1ul : 0);
        Field(normalizer, 5, 1);
        Field(stream, 3, normalizer.ToArray());
        return stream.ToArray();
    }

    private static void Field(MemoryStream stream, int field, ReadOnlySpan<byte> bytes)
    {
        Number(stream, (ulong)field << 3 | 2);
        Number(stream, (ulong)bytes.Length);
        stream.Write(bytes);
    }

    private static void Field(MemoryStream stream, int field, ulong number)
    {
        Number(stream, (ulong)field << 3);
        Number(stream, number);
    }

    /// <summary>Seven bits a byte, the lowest first.</summary>
    private static void Number(MemoryStream stream, ulong number)
    {
        for (; number > 0x7F; number >>= 7)
            stream.WriteByte((byte)(number | 0x80));
        stream.WriteByte((byte)number);
    }
}
