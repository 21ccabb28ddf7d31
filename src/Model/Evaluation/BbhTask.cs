using System.Text.RegularExpressions;

namespace MoeFromScratch.Model.Evaluation;

/// <summary>
/// BIG-Bench Hard (Suzgun et al., 2022, arXiv 2210.09261): <c>{"examples": [{"input": "…\nOptions:\n(A) …\n(B) …", "target": "(A)"}, …]}</c>. Scored are the letters:
/// the context is <c>Q: input\nA:</c>, as in the authors' prompts without examples, and the continuations are <c> (A)</c>, <c> (B)</c> and so on. Options of the form
/// <c>- Yes</c> are scored as their texts. Tasks without options have nothing to choose from and are refused.
/// </summary>
internal static partial class BbhTask
{
    public static IReadOnlyList<TaskDocument> Read(JsonPlace file) =>
    [
        .. file.Filled("examples").Select((example, i) => example.ValueKind == System.Text.Json.JsonValueKind.Object
            ? Document(new JsonPlace($"{file.Place}: example {i + 1}", example))
            : throw file.Refused($"example {i + 1} must be an object")),
    ];

    private static TaskDocument Document(JsonPlace json)
    {
        string input = json.Text("input"), target = json.Text("target");
        int at = input.LastIndexOf("Options:\n", StringComparison.Ordinal);
        string[] options = at < 0 ? [] : [.. Option().Matches(input[at..]).Select(static m => m.Groups[1].Success ? m.Groups[1].Value : m.Groups[2].Value)];
        if (options.Length == 0)
            throw json.Refused("the input has no options to choose from, like Options:\\n(A) …\\n(B) …");
        int label = Array.IndexOf(options, target.Trim());
        return label >= 0
            ? json.Document([.. options.Select(o => new TaskChoice($"Q: {input}\nA:", " " + o))], label)
            : throw json.Refused($"the target is none of the options {string.Join(", ", options)}");
    }

    [GeneratedRegex(@"^(?:(\([A-Z]\)) |- ([^\r\n]+))", RegexOptions.Multiline)]
    private static partial Regex Option();
}
