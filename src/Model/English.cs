namespace MoeFromScratch.Model;

/// <summary>Messages that name things.</summary>
internal static class English
{
    /// <summary>"a mixtral", "an olmoe", "a uni-moe-2": with the article that it is read with.</summary>
    public static string A(string name) =>
        $"{(name is ['a' or 'e' or 'i' or 'o' or 'u' or 'A' or 'E' or 'I' or 'O' or 'U', ..] && !name.StartsWith("uni", StringComparison.OrdinalIgnoreCase) ? "an" : "a")} {name}";
}
