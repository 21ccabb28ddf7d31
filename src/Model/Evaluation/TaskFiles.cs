using System.IO.Compression;
using System.Text.Json;
using System.Text.Unicode;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Evaluation;

/// <summary>Finds and reads tasks, in three forms.</summary>
/// <remarks>
/// <para>A <c>.jsonl</c> or <c>.jsonl.gz</c> file has a question in each line:
/// <c>{"context": "2 + 2 =", "continuations": [" 4", " 5"], "label": 0}</c>; other keys are left alone.</para>
/// <para>Or it has a request in each line, as OLMo's files do, see <see cref="RequestTask"/>; a <c>config.json</c> beside it names the metric.</para>
/// <para>A <c>.json</c> file is a task of BIG-Bench Hard, see <see cref="BbhTask"/>.</para>
/// <para>A folder stands for all such files in it, and for those in its folders.</para>
/// </remarks>
public static class TaskFiles
{
    private const string ConfigFile = "config.json";
    private const int MaxBytes = 1 << 30;

    /// <summary>The tasks that files and folders hold, in their order, a folder's by name.</summary>
    /// <exception cref="CheckpointException">No such file, no task in a folder, or a malformed one; the message names file and line.</exception>
    public static IReadOnlyList<TaskSet> Read(IEnumerable<string> paths) => [.. paths.SelectMany(Find).Select(ReadFile)];

    private static IEnumerable<string> Find(string path)
    {
        if (!Directory.Exists(path))
            return IsTask(path) ? [path] : throw new CheckpointException(path, "is no task: a task is a folder or a file that ends in .jsonl, .jsonl.gz or .json");
        string[] files = [.. Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
            .Where(static f => IsTask(f) && Path.GetFileName(f) != ConfigFile).Order(StringComparer.Ordinal)];
        return files.Length > 0 ? files : throw new CheckpointException(path, "holds no task: no file in it ends in .jsonl, .jsonl.gz or .json");
    }

    private static bool IsTask(string file) => file.EndsWith(".json", StringComparison.Ordinal) || IsLines(file);

    private static bool IsLines(string file) => file.EndsWith(".jsonl", StringComparison.Ordinal) || file.EndsWith(".jsonl.gz", StringComparison.Ordinal);

    /// <summary>The file's name, or the folder's where the file is one of OLMo's, which are all called alike.</summary>
    private static string NameOf(string file) => Path.GetFileName(file).Split('.')[0] is var name && name == "requests"
        ? Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(file))!)
        : name;

    private static TaskSet ReadFile(string file)
    {
        try
        {
            string name = NameOf(file);
            if (!IsLines(file))
                return new TaskSet(name, TaskMetric.Acc, BbhTask.Read(Parse(file, ReadAll(file))));
            JsonPlace[] lines = [.. JsonLines.Of(file, ReadAll(file)).Select(static l => Parse(l.Place, l.Text))];
            if (lines.Length == 0)
                throw new CheckpointException(file, "is empty");
            if (!lines[0].Has("request"))
                return new TaskSet(name, TaskMetric.Acc, [.. lines.Select(Simple)]);
            string config = Path.Combine(Path.GetDirectoryName(file)!, ConfigFile);
            return RequestTask.Read(name, lines, File.Exists(config) ? Parse(config, ReadAll(config)) : null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new CheckpointException(file, e is InvalidDataException ? "is no gzip file, or a damaged one" : File.Exists(file) ? e.Message : "there is no such file", inner: e);
        }
    }

    private static TaskDocument Simple(JsonPlace json)
    {
        string context = json.Text("context");
        TaskChoice[] choices = [.. json.List("continuations").Select(c => new TaskChoice(context, json.Continuation(c)))];
        return json.Document(choices, json.Int("label"));
    }

    private static JsonPlace Parse(string place, ReadOnlyMemory<byte> text)
    {
        try
        {
            JsonElement json = JsonLines.Parse(text);
            return json.ValueKind == JsonValueKind.Object ? new JsonPlace(place, json) : throw new CheckpointException(place, "is not a JSON object");
        }
        catch (JsonException e)
        {
            throw new CheckpointException(e.LineNumber > 0 ? $"{place}, line {e.LineNumber + 1}" : place, $"is not valid JSON{JsonLines.Where(e)}", inner: e);
        }
    }

    private static ReadOnlyMemory<byte> ReadAll(string file)
    {
        using FileStream stream = File.OpenRead(file);
        bool compressed = file.EndsWith(".gz", StringComparison.Ordinal);
        using Stream plain = compressed ? new GZipStream(stream, CompressionMode.Decompress, leaveOpen: true) : stream;
        using MemoryStream bytes = new();
        byte[] piece = new byte[1 << 16];
        for (int count; (count = plain.Read(piece)) > 0;)
        {
            bytes.Write(piece, 0, count);
            if (bytes.Length > MaxBytes)
                throw new CheckpointException(file, $"has more than {MaxBytes:n0} bytes of text");
        }
        ReadOnlyMemory<byte> all = bytes.GetBuffer().AsMemory(0, (int)bytes.Length);
        if (compressed && !GzipEnd.Fits(stream, all.Span))
            throw new CheckpointException(file, "is cut off, or has something behind its end");
        return Utf8.IsValid(all.Span) ? JsonLines.WithoutMark(all) : throw new CheckpointException(file, "is not UTF-8 text");
    }
}

/// <summary>A JSON object and where it stands; what is missing or of another kind is refused by name.</summary>
internal sealed record JsonPlace(string Place, JsonElement Json)
{
    public bool Has(string key) => Json.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    public string Text(string key) => Text(Find(key, JsonValueKind.String, "a string"), key);

    public int Int(string key) => Find(key, JsonValueKind.Number, "an integer").TryGetInt32(out int number) ? number : throw Refused($"{key} must be an integer");

    public IEnumerable<JsonElement> List(string key) => Find(key, JsonValueKind.Array, "a list").EnumerateArray();

    /// <summary>A list that is not empty.</summary>
    public JsonElement[] Filled(string key) => List(key).ToArray() is { Length: > 0 } list ? list : throw Refused($"{key} is empty");

    public JsonPlace Object(string key) => new($"{Place}: {key}", Find(key, JsonValueKind.Object, "an object"));

    /// <summary>A text that has a length, a leading space aside.</summary>
    public string Continuation(JsonElement value)
    {
        string text = value.ValueKind == JsonValueKind.String ? Text(value, "a continuation") : throw Refused("a continuation must be a string");
        return text is not "" and not " " ? text : throw Refused("a continuation is empty");
    }

    public string Continuation(string key) => Continuation(Find(key, JsonValueKind.String, "a string"));

    public TaskDocument Document(IReadOnlyList<TaskChoice> choices, int label)
    {
        if (choices.Count == 0)
            throw Refused("there is no continuation to choose");
        return label >= 0 && label < choices.Count
            ? new TaskDocument(Place, choices, label)
            : throw Refused($"label must lie between 0 and {choices.Count - 1}, for {choices.Count} continuations, not be {label}");
    }

    public CheckpointException Refused(string rule) => new(Place, rule);

    private JsonElement Find(string key, JsonValueKind kind, string expected) => !Has(key) ? throw Refused($"{key} is missing")
        : Json.GetProperty(key) is var value && value.ValueKind == kind ? value : throw Refused($"{key} must be {expected}");

    private string Text(JsonElement value, string what)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new CheckpointException(Place, $"{what} holds half a surrogate pair", inner: e);
        }
    }
}
