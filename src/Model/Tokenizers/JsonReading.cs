using System.Text.Json;

namespace MoeFromScratch.Model.Tokenizers;

/// <summary>
/// The parts of a tokenizer.json, read strictly. What breaks a rule throws <see cref="InvalidDataException"/> here, and what is
/// of the wrong kind <see cref="JsonElement"/>'s own exceptions; <see cref="Tokenizer.Load"/> makes one line of each.
/// </summary>
internal static class JsonReading
{
    /// <summary>A key's value, or null where it is absent or null.</summary>
    public static JsonElement? Find(this JsonElement json, string key) =>
        json.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    public static string Text(this JsonElement json, string key) =>
        json.GetProperty(key).GetString() ?? throw new InvalidDataException($"'{key}' is null");

    public static bool Flag(this JsonElement json, string key, bool absent = false) => json.Find(key)?.GetBoolean() ?? absent;

    /// <summary>An id no larger than any vocabulary needs.</summary>
    public static int Id(this JsonElement json) => json.GetInt32() is var id and >= 0 and < Families.ConfigJson.MaxDimension
        ? id
        : throw new InvalidDataException($"the token id {json.GetInt32()} is not between 0 and {Families.ConfigJson.MaxDimension - 1}");

    public static InvalidDataException Unsupported(string part, JsonElement json) =>
        new($"a {part} of the type '{(json.TryGetProperty("type", out JsonElement type) ? type.ToString() : "")}' is not supported");
}
