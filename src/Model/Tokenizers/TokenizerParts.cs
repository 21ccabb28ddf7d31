using System.Text.Json;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>What a tokenizer is made of, wherever it was read from.</summary>
internal sealed record TokenizerParts(BpeModel Model)
{
    private const int MostGrowth = 64;

    /// <summary>What happens to a text, or a part of it between added tokens, before it is cut.</summary>
    public Func<string, string> Normalize { get; init; } = static text => text;

    /// <summary>The same for parts that do not begin the text, where that makes a difference.</summary>
    public Func<string, string>? NormalizeLater { get; init; }

    /// <summary>Cuts a text into the words that the model sees one by one.</summary>
    public Func<string, IEnumerable<string>> Cut { get; init; } = static text => [text];

    public IReadOnlyList<AddedToken> Added { get; init; } = [];

    public Template Template { get; init; } = new([], []);

    public required Func<TokenSink, Decoder>[] Decoders { get; init; }

    /// <summary>Those of a tokenizer.json.</summary>
    /// <exception cref="InvalidDataException">A part that is not supported.</exception>
    public static TokenizerParts Read(JsonElement json) => new(BpeModel.Read(json.GetProperty("model")))
    {
        Normalize = Normalizer.Read(Modest(json, "normalizer", "normalizers")),
        Cut = PreTokenizer.Read(Modest(json, "pre_tokenizer", "pretokenizers")),
        Added = [.. json.Find("added_tokens")?.EnumerateArray().Select(static token => AddedToken.Read(token, token.GetProperty("id").Id())) ?? []],
        Template = Template.Read(json.Find("post_processor")),
        Decoders = Decoder.Read(Modest(json, "decoder", "decoders")),
    };

    /// <summary>A part whose steps together cannot make a long text of a short one: no tokenizer's do, and two dozen doublings would fill any memory.</summary>
    private static JsonElement? Modest(JsonElement json, string part, string list)
    {
        if (json.Find(part) is not { } steps)
            return null;
        return Growth(steps) <= MostGrowth ? steps : throw new InvalidDataException($"the {part} may make a text more than {MostGrowth} times as long");

        double Growth(JsonElement step) => step.Text("type") switch
        {
            "Sequence" => step.GetProperty(list).EnumerateArray().Aggregate(1.0, (all, next) => all * Growth(next)),
            "Replace" when step.GetProperty("pattern").TryGetProperty("String", out JsonElement from) && from.GetString() is { Length: > 0 } text =>
                Math.Max(1, step.Text("content").Length / (double)text.Length),
            "ByteLevel" => 3,   // a character has up to three bytes, each of which becomes one
            _ => 1,
        };
    }
}
