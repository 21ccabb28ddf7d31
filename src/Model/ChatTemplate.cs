using System.Text.Json;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model;

/// <summary>
/// Where a folder keeps the Jinja that makes a text of a conversation. Of several, the first of these is taken, as Hugging Face's loader
/// does: chat_template.jinja, chat_template.json, tokenizer_config.json. The last may have several templates, of which one is the default.
/// </summary>
internal static class ChatTemplate
{
    public const string FileName = "chat_template.jinja";

    private const string Key = "chat_template", Default = "default", What = "a file with a chat template";
    private static readonly string[] Jsons = [Key + ".json", TokenizerConfig.FileName];

    /// <summary>The template, or null.</summary>
    /// <exception cref="CheckpointException">A file is broken.</exception>
    public static string? Find(string folder)
    {
        string jinja = Path.Combine(folder, FileName);
        return File.Exists(jinja) ? TokenizerFile.Read(jinja, () => TokenizerFile.Open(jinja, FileName).Text, What)
            : Jsons.Select(name => FindIn(Path.Combine(folder, name))).FirstOrDefault(static found => found is not null);
    }

    private static string? FindIn(string path)
    {
        if (!File.Exists(path))
            return null;
        return TokenizerFile.Read(path, () =>
        {
            using JsonDocument json = TokenizerFile.Json(TokenizerFile.Open(path, Path.GetFileName(path)).Text);
            return json.RootElement.Find(Key) is not { ValueKind: JsonValueKind.Array } several ? json.RootElement.Find(Key)?.GetString()
                : several.EnumerateArray().Where(static t => t.Text("name") == Default).Select(static t => t.Text("template")).FirstOrDefault();
        }, What);
    }
}
