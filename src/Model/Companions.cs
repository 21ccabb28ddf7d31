namespace MoeFromScratch.Model;

/// <summary>
/// What belongs to a checkpoint beside its model and is handed on as it is: how it wants to be sampled, how its chats are written, and
/// what describes its tokenizer, whose own files the tokenizer knows.
/// </summary>
internal static class Companions
{
    public static IReadOnlyList<string> Names { get; } =
    [
        "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    ];

    /// <summary>Copies those that are there, each flushed and then replaced as a whole.</summary>
    public static void Copy(string from, string to)
    {
        foreach (string name in Names)
            if (File.Exists(Path.Combine(from, name)) && Path.GetFullPath(from) != Path.GetFullPath(to))
                CopyFile(name, from, to);
    }

    /// <summary>Copies a file of a folder, flushed and then put in place as a whole.</summary>
    public static void CopyFile(string name, string from, string to)
    {
        string target = Path.Combine(to, name), temporary = target + ".tmp";
        using (FileStream read = File.OpenRead(Path.Combine(from, name)), write = new(temporary, FileMode.Create, FileAccess.Write))
        {
            read.CopyTo(write);
            write.Flush(flushToDisk: true);
        }
        File.Move(temporary, target, overwrite: true);
    }
}
