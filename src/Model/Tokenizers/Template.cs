using System.Text.Json;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>The "post_processor" of a tokenizer.json: the special tokens before and after a text.</summary>
internal sealed record Template(int[] Before, int[] After)
{
    /// <exception cref="InvalidDataException">A type other than TemplateProcessing, ByteLevel (offsets only) or a Sequence of these.</exception>
    public static Template Read(JsonElement? postProcessor)
    {
        if (postProcessor is not { } json)
            return new Template([], []);
        switch (json.Text("type"))
        {
            case "ByteLevel":
                return new Template([], []);
            case "TemplateProcessing":
                return ReadPieces(json);
            case "Sequence":
                Template all = new([], []);
                foreach (Template next in json.GetProperty("processors").EnumerateArray().Select(static p => Read(p)))
                    all = new Template([.. next.Before, .. all.Before], [.. all.After, .. next.After]);
                return all;
            default:
                throw JsonReading.Unsupported("post_processor", json);
        }
    }

    private static Template ReadPieces(JsonElement json)
    {
        List<int> before = [], after = [];
        int texts = 0;
        foreach (JsonElement piece in json.GetProperty("single").EnumerateArray())
        {
            if (piece.TryGetProperty("Sequence", out _))
                texts++;
            else
                (texts == 0 ? before : after).AddRange(json.GetProperty("special_tokens").GetProperty(piece.GetProperty("SpecialToken").Text("id"))
                    .GetProperty("ids").EnumerateArray().Select(static id => id.Id()));
        }
        return texts == 1 ? new Template([.. before], [.. after]) : throw new InvalidDataException($"a template with the text {texts} times is not supported");
    }
}
