using System.Text.Json;

namespace MoeFromScratch.Model.Training.Conversations;

/// <summary>
/// A JSON list of records, or a record on each line: conversations, as <c>conversations: [{from, value}]</c> or as
/// <c>messages: [{role, content}]</c>, or documents, as <c>text</c>. Other keys of a record are its owner's and left alone, except those
/// of pictures and sound, which a text model cannot learn from.
/// </summary>
/// <param name="Conversations">Empty where the records are documents.</param>
/// <param name="Documents">Empty where the records are conversations.</param>
/// <param name="Unanswered">Conversations whose last question had no answer and was left out.</param>
public sealed record RecordFile(IReadOnlyList<Conversation> Conversations, IReadOnlyList<string> Documents, int Unanswered)
{
    private static readonly string[] Media = ["image", "images", "image_path", "video", "videos", "audio", "audios"];
    private static readonly string[] Kinds = ["conversations", "messages", "text"];

    /// <summary>Whether a file's name says that it is one.</summary>
    public static bool IsOne(string path) => Path.GetExtension(path).ToLowerInvariant() is ".json" or ".jsonl";

    /// <exception cref="ArgumentException">The file has no records, or one that breaks a rule; the message names the file and the line.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static RecordFile Read(string path)
    {
        List<Conversation> conversations = [];
        List<string> documents = [];
        int unanswered = 0;
        foreach ((JsonElement record, string place) in Records(path))
        {
            object content = Content(record, place);
            if (content is string text)
                documents.Add(text);
            else
            {
                (Conversation conversation, bool cut) = Checked((List<Message>)content, place);
                conversations.Add(conversation);
                unanswered += cut ? 1 : 0;
            }
            if (conversations.Count > 0 && documents.Count > 0)
                throw Refused(place, "a file has conversations or documents ('text'), not both");
        }
        return conversations.Count + documents.Count > 0 ? new RecordFile(conversations, documents, unanswered)
            : throw new ArgumentException($"{path} has no records");
    }

    private static IEnumerable<(JsonElement Record, string Place)> Records(string path)
    {
        ReadOnlyMemory<byte> bytes = JsonLines.WithoutMark(File.ReadAllBytes(path));
        int first = bytes.Span.IndexOfAnyExcept(" \t\r\n"u8);
        if (first < 0)
            throw new ArgumentException($"{path} is empty");
        return bytes.Span[first] == '[' ? List(path, bytes) : JsonLines.Of(path, bytes).Select(static l => (One(l.Text, l.Place), l.Place));
    }

    private static JsonElement One(ReadOnlyMemory<byte> text, string place)
    {
        try
        {
            return JsonLines.Parse(text);
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"{place}: a line holds one JSON object, this one is not valid JSON{JsonLines.Where(e)}", e);
        }
    }

    /// <summary>One after the other, each with the line that it begins on.</summary>
    private static List<(JsonElement Record, string Place)> List(string path, ReadOnlyMemory<byte> bytes)
    {
        List<(JsonElement, string)> records = [];
        int line = 1, counted = 0;
        try
        {
            Utf8JsonReader reader = new(bytes.Span);
            reader.Read();      // [
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                int start = (int)reader.TokenStartIndex;
                line += bytes.Span[counted..start].Count((byte)'\n');
                counted = start;
                reader.Skip();
                records.Add((JsonLines.Parse(bytes[start..(int)reader.BytesConsumed]), $"{path}, line {line}"));
            }
            reader.Read();      // throws where something follows
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"{path}, line {(e.LineNumber is { } at ? at + 1 : line)}: not valid JSON{JsonLines.Where(e)}", e);
        }
        return records;
    }

    /// <summary>The text of a document, or the messages of a conversation.</summary>
    private static object Content(JsonElement record, string place)
    {
        if (record.ValueKind != JsonValueKind.Object)
            throw Refused(place, "a record is a JSON object");
        foreach (string key in Media)
            if (record.TryGetProperty(key, out JsonElement media) && media.ValueKind != JsonValueKind.Null)
                throw Refused(place, $"has '{key}', and only text is trained on");
        string[] kinds = [.. Kinds.Where(key => record.TryGetProperty(key, out _))];
        if (kinds.Length != 1)
            throw Refused(place, $"a record has one of 'conversations', 'messages' and 'text', this one has {(kinds.Length == 0 ? "none" : string.Join(" and ", kinds))}");
        JsonElement content = record.GetProperty(kinds[0]);
        return kinds[0] switch
        {
            "text" => Text(content, kinds[0], place),
            "messages" => Messages(content, "role", "content", place),
            _ => Messages(content, "from", "value", place),
        };
    }

    private static List<Message> Messages(JsonElement list, string roleKey, string textKey, string place)
    {
        if (list.ValueKind != JsonValueKind.Array)
            throw Refused(place, "a conversation is a list of messages");
        List<Message> messages = [];
        foreach (JsonElement message in list.EnumerateArray())
        {
            if (message.ValueKind != JsonValueKind.Object || !message.TryGetProperty(roleKey, out JsonElement role) || !message.TryGetProperty(textKey, out JsonElement text))
                throw Refused(place, $"message {messages.Count + 1} needs '{roleKey}' and '{textKey}'");
            messages.Add(new Message(RoleOf(Text(role, roleKey, place), place), Text(text, textKey, place)));
        }
        return messages;
    }

    private static Role RoleOf(string name, string place) => name switch
    {
        "system" => Role.System,
        "human" or "user" => Role.User,
        "gpt" or "assistant" => Role.Assistant,
        _ => throw Refused(place, $"unknown role '{name}'; there are human (or user), gpt (or assistant) and system"),
    };

    private static string Text(JsonElement value, string key, string place)
    {
        try
        {
            return value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Refused(place, $"'{key}' must be a text");
        }
        catch (InvalidOperationException e)
        {
            throw new ArgumentException($"{place}: '{key}' is not valid UTF-8", e);
        }
    }

    /// <summary>In turn, from a question on; a question at the end that nobody answered goes.</summary>
    private static (Conversation Conversation, bool Cut) Checked(List<Message> messages, string place)
    {
        int turn = messages is [{ Role: Role.System }, ..] ? 1 : 0, first = turn;
        for (; turn < messages.Count; turn++)
            if (messages[turn].Role is var role && role != ((turn - first) % 2 == 0 ? Role.User : Role.Assistant))
                throw Refused(place, role == Role.System ? $"message {turn + 1} is the system's, which may only be the first"
                    : $"message {turn + 1} is another of the {(role == Role.User ? "user" : "assistant")}; questions and answers take turns, a question first");
        bool cut = (messages.Count - first) % 2 == 1;
        if (cut)
            messages.RemoveAt(messages.Count - 1);
        return messages.Count > first ? (new Conversation(messages, place), cut) : throw Refused(place, "the conversation has no answer to learn");
    }

    private static ArgumentException Refused(string place, string why) => new($"{place}: {why}");
}
