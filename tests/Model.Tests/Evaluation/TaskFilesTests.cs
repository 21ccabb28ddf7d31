using System.IO.Compression;
using System.Text;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Evaluation;
using MoeFromScratch.Model.Tests.Tokenizers;

namespace MoeFromScratch.Model.Tests.Evaluation;

public sealed class TaskFilesTests : IDisposable
{
    private const string Requests = """
        {"request_type": "loglikelihood", "doc": {}, "request": {"context": "Q one", "continuation": " no"}, "idx": 0, "task_name": "t", "doc_id": 0, "label": 1}
        {"request_type": "loglikelihood", "doc": {}, "request": {"context": "Q two", "continuation": " yes"}, "idx": 1, "task_name": "t", "doc_id": 0, "label": 1}
        {"request_type": "loglikelihood", "doc": {}, "request": {"context": "Q three", "continuation": " x"}, "idx": 0, "task_name": "t", "doc_id": 7, "label": 0}
        {"request_type": "loglikelihood", "doc": {}, "request": {"context": "A", "continuation": " no"}, "idx": 0, "task_name": "t", "doc_id": 100, "label": 1}
        {"request_type": "loglikelihood", "doc": {}, "request": {"context": "A", "continuation": " yes"}, "idx": 1, "task_name": "t", "doc_id": 100, "label": 1}
        {"request_type": "loglikelihood", "doc": {}, "request": {"context": "A", "continuation": " x"}, "idx": 0, "task_name": "t", "doc_id": 107, "label": 0}
        """;

    private const string Config = """{"task_name": "t", "task_config": {"primary_metric": "acc_per_char", "metric_kwargs": {"uncond_docid_offset": 100}}}""";

    private const string Bbh = """
        {"canary": "x", "examples": [
          {"input": "Which?\nOptions:\n(A) the cat\n(B) the dog", "target": "(B)"},
          {"input": "Is it?\nOptions:\n- Yes\n- No", "target": "Yes"}]}
        """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("simple.jsonl")]
    [InlineData("simple.jsonl.gz")]
    public void ALineIsAQuestion(string file)
    {
        string path = Write(file, """
            {"context": "2 + 2 =", "continuations": [" 4", " 5"], "label": 0, "id": "x"}

            {"context": "", "continuations": ["é"], "label": 0}
            """ + "\n");
        TaskSet task = TaskFiles.Read([path]).Single();
        Assert.Equal(("simple", TaskMetric.Acc, 2), (task.Name, task.Primary, task.Documents.Count));
        Assert.Equal([new TaskChoice("2 + 2 =", " 4"), new TaskChoice("2 + 2 =", " 5")], task.Documents[0].Choices);
        Assert.Equal(new TaskChoice("", "é"), task.Documents[1].Choices.Single());
        Assert.Equal($"{path}, line 3", task.Documents[1].Place);
    }

    [Fact]
    public void RequestsOfOneDocumentAreItsChoices()
    {
        Write("config.json", Config);
        TaskSet task = TaskFiles.Read([Write("requests.jsonl.gz", Requests)]).Single();
        Assert.Equal((Path.GetFileName(_folder.Path), TaskMetric.AccPerChar), (task.Name, task.Primary));
        Assert.Equal([1, 0], task.Documents.Select(static d => d.Label));
        Assert.Equal([new TaskChoice("Q one", " no", "A"), new TaskChoice("Q two", " yes", "A")], task.Documents[0].Choices);
        Assert.Equal([new TaskChoice("Q three", " x", "A")], task.Documents[1].Choices);
    }

    [Fact]
    public void ChoicesAreOrderedByIdx()
    {
        TaskSet task = TaskFiles.Read([Write("turned.jsonl", string.Join('\n', Requests.Split('\n').Reverse()))]).Single();
        Assert.Equal([" x", " no yes", " x", " no yes"], task.Documents.Select(static d => string.Concat(d.Choices.Select(static c => c.Continuation))));
    }

    /// <summary>Nobody says that document 100 is document 0 without its context.</summary>
    [Fact]
    public void WithoutAConfigAllDocumentsAreQuestions()
    {
        TaskSet task = TaskFiles.Read([Write("some.jsonl", Requests)]).Single();
        Assert.Equal(("some", TaskMetric.Acc, 4), (task.Name, task.Primary, task.Documents.Count));
        Assert.All(task.Documents.SelectMany(static d => d.Choices), static c => Assert.Null(c.Unconditional));
    }

    [Fact]
    public void BigBenchHardsOptionsAreTheChoices()
    {
        TaskSet task = TaskFiles.Read([Write("bbh.json", Bbh)]).Single();
        Assert.Equal([1, 0], task.Documents.Select(static d => d.Label));
        Assert.Equal([new TaskChoice("Q: Which?\nOptions:\n(A) the cat\n(B) the dog\nA:", " (A)"), new TaskChoice("Q: Which?\nOptions:\n(A) the cat\n(B) the dog\nA:", " (B)")],
            task.Documents[0].Choices);
        Assert.Equal([" Yes", " No"], task.Documents[1].Choices.Select(static c => c.Continuation));
    }

    [Fact]
    public void AFolderStandsForItsFiles()
    {
        Directory.CreateDirectory(_folder["b"]);
        Directory.CreateDirectory(_folder["empty"]);
        Write("b/requests.jsonl", Requests);
        Write("b/config.json", Config);
        Write("a.json", Bbh);
        Write("readme.txt", "no task");
        Assert.Equal(["a", "b"], TaskFiles.Read([_folder.Path]).Select(static t => t.Name));
        Refused(": holds no task", _folder["empty"]);
        Refused("readme.txt: is no task", _folder["readme.txt"]);
        Refused("gone.jsonl: there is no such file", _folder["gone.jsonl"]);
    }

    [Theory]
    [InlineData("x.jsonl", "{}", "line 1: context is missing")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [\"b\"], \"label\": 0}\n{\"context\": \"a\", \"label\": 0}", "line 2: continuations is missing")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [\"b\"], \"label\": 1}", "line 1: label must lie between 0 and 0")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [\"b\"], \"label\": \"b\"}", "line 1: label must be an integer")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [\"b\"], \"label\": 0.5}", "line 1: label must be an integer")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [], \"label\": 0}", "line 1: there is no continuation")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [\" \"], \"label\": 0}", "line 1: a continuation is empty")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": [3], \"label\": 0}", "line 1: a continuation must be a string")]
    [InlineData("x.jsonl", "{\"context\": \"a\", \"continuations\": \"b\", \"label\": 0}", "line 1: continuations must be a list")]
    [InlineData("x.jsonl", "{\"context\": \"\\ud800\", \"continuations\": [\"b\"], \"label\": 0}", "line 1: context holds half a surrogate pair")]
    [InlineData("x.jsonl", "[]", "line 1: is not a JSON object")]
    [InlineData("x.jsonl", "{\"context\": ", "line 1: is not valid JSON")]
    [InlineData("x.jsonl", "\n\n", "x.jsonl: is empty")]
    [InlineData("x.jsonl.gz", null, "x.jsonl.gz: is no gzip file")]
    [InlineData("x.json", "{\"examples\": 3}", "x.json: examples must be a list")]
    [InlineData("x.json", "{\"examples\": []}", "x.json: examples is empty")]
    [InlineData("x.json", "{\"examples\": [\n{\"input\": }]}", "x.json, line 2: is not valid JSON at byte")]
    [InlineData("x.jsonl", "{\"a\": 0, \"a\": 1}", "line 1: is not valid JSON: Duplicate property 'a'")]
    [InlineData("x.jsonl", "{\"\\ud800\": 0, \"b\": 1}", "line 1: is not valid JSON: A key is no text")]
    [InlineData("x.json", "{\"examples\": [3]}", "x.json: example 1 must be an object")]
    [InlineData("x.json", "{\"examples\": [{\"input\": \"not ( True ) is\", \"target\": \"False\"}]}", "example 1: the input has no options")]
    [InlineData("x.json", "{\"examples\": [{\"input\": \"Options:\\n(A) a\", \"target\": \"(B)\"}]}", "example 1: the target is none of the options (A)")]
    public void MalformedFilesAreRefusedByFileAndLine(string file, string? content, string message)
    {
        if (content is null)
            File.WriteAllText(_folder[file], "this is not compressed");
        else
            Write(file, content);
        Refused(message, _folder[file]);
    }

    /// <summary>Wherever a compressed file is cut, also between its text and what checks it, it is no smaller task; two in one file are one.</summary>
    [Fact]
    public void AFileThatIsCutOffIsRefused()
    {
        const string Line = """{"context": "a", "continuations": ["b"], "label": 0}""" + "\n";
        byte[] whole = File.ReadAllBytes(Write("x.jsonl.gz", string.Concat(Enumerable.Repeat(Line, 50)))), other = File.ReadAllBytes(Write("y.jsonl.gz", Line));
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(_folder["x.jsonl.gz"], whole[..length]);
            Refused("is cut off", _folder["x.jsonl.gz"]);
        }
        File.WriteAllBytes(_folder["x.jsonl.gz"], [.. whole, 0, 0, 0]);
        Refused("has something behind its end", _folder["x.jsonl.gz"]);
        File.WriteAllBytes(_folder["x.jsonl.gz"], [.. whole, .. other]);
        Assert.Equal(51, TaskFiles.Read([_folder["x.jsonl.gz"]]).Single().Documents.Count);
    }

    [Theory]
    [InlineData("\"idx\": 1", "\"idx\": 0", "line 5: doc_id 100 has idx 0 twice")]
    [InlineData("\"idx\": 1, \"task_name\": \"t\", \"doc_id\": 0,", "\"idx\": 0, \"task_name\": \"t\", \"doc_id\": 0,", "line 2: doc_id 0 has idx 0 twice")]
    [InlineData("\"idx\": 1", "\"idx\": 2", "line 2: doc_id 0 has an idx 2, but no 1")]
    [InlineData("\"idx\": 1", "\"idx\": -1", "line 2: doc_id and idx must be at least 0")]
    [InlineData("\"doc_id\": 107", "\"doc_id\": 108", "line 3: there is no request with doc_id 107 and idx 0")]
    [InlineData("\"doc_id\": 7,", "\"doc_id\": 8,", "there is no request with doc_id")]
    [InlineData("\"A\", \"continuation\": \" x\"", "\"A\", \"continuation\": \" y\"", "line 6: its continuation is not that of doc_id 7")]
    [InlineData("\"loglikelihood\"", "\"generate_until\"", "line 1: request_type must be loglikelihood")]
    [InlineData("\"request\": {\"context\": \"Q two\"", "\"request\": {\"kontext\": \"Q two\"", "line 2: request: context is missing")]
    [InlineData("\" yes\"}, \"idx\": 1, \"task_name\": \"t\", \"doc_id\": 0, \"label\": 1", "\" yes\"}, \"idx\": 1, \"task_name\": \"t\", \"doc_id\": 0, \"label\": 0", "line 2: doc_id 0 has the labels 1 and 0")]
    [InlineData("\"acc_per_char\"", "\"f1\"", "primary_metric must be acc_raw")]
    public void MalformedRequestsAreRefusedByFileAndLine(string part, string instead, string message)
    {
        Assert.Contains(part, Requests + Config, StringComparison.Ordinal);
        Write("config.json", Config.Replace(part, instead, StringComparison.Ordinal));
        Write("requests.jsonl", Requests.Replace(part, instead, StringComparison.Ordinal));
        Refused(message, _folder["requests.jsonl"]);
    }

    /// <summary>The counts are those of the data sets.</summary>
    [SkippableFact]
    public void ReadsThePublishedRequestSets()
    {
        IReadOnlyList<TaskSet> tasks = TaskFiles.Read([Path.Combine(Vocabularies.Folder, "eval-requests")]);
        Assert.Equal([("copa", 100, 2), ("csqa", 1221, 5), ("piqa", 1838, 2), ("winogrande", 1267, 2)],
            tasks.Select(static t => (t.Name, t.Documents.Count, t.Documents.Max(static d => d.Choices.Count))));
        Assert.Equal([TaskMetric.Acc, TaskMetric.AccPerChar, TaskMetric.AccPerChar, TaskMetric.Acc], tasks.Select(static t => t.Primary));
        Assert.Equal([true, true, true, false], tasks.Select(static t => t.Documents.All(static d => d.Choices.All(static c => c.Unconditional == "Answer:"))));
        IReadOnlyList<TaskSet> bbh = TaskFiles.Read([Path.Combine(Vocabularies.Folder, "bbh")]);
        Assert.Equal(6, bbh.Count);
        Assert.All(bbh, static t => Assert.Equal(250, t.Documents.Count));
        Assert.All(bbh.Where(static t => t.Name.Contains("seven", StringComparison.Ordinal)), static t => Assert.All(t.Documents, static d => Assert.Equal(7, d.Choices.Count)));
    }

    private string Write(string file, string content)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(content);
        using FileStream stream = File.Create(_folder[file]);
        using Stream target = file.EndsWith(".gz", StringComparison.Ordinal) ? new GZipStream(stream, CompressionLevel.Fastest) : stream;
        target.Write(bytes);
        return _folder[file];
    }

    private static void Refused(string part, string path) => TemporaryFolder.AssertRefused(part, () => TaskFiles.Read([path]));
}
