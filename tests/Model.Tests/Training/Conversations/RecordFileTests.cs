using MoeFromScratch.Contract;
using MoeFromScratch.Model.Training.Conversations;

namespace MoeFromScratch.Model.Tests.Training.Conversations;

public sealed class RecordFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private RecordFile Read(string content, string name = "data.jsonl")
    {
        File.WriteAllText(_folder[name], content);
        return RecordFile.Read(_folder[name]);
    }

    private const string Turn = """{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}""";

    /// <summary>Both spellings, as lines and as a list, with what else such records carry.</summary>
    [Theory]
    [InlineData("""
        {"id": 3, "conversations": [{"from": "system", "value": "Add."}, {"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}], "image_path": null}

        {"messages": [{"role": "user", "content": "é?"}, {"role": "assistant", "content": "\u00e9!"}, {"role": "user", "content": "more"}]}
        """, 1, 3)]
    [InlineData("""
        [
          {"conversations": [{"from": "system", "value": "Add."}, {"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]},
          {"messages": [
            {"role": "user", "content": "é?"}, {"role": "assistant", "content": "é!"}, {"role": "user", "content": "more"}]
          }
        ]
        """, 2, 3)]
    public void ConversationsAreRead(string content, int firstLine, int secondLine)
    {
        RecordFile file = Read(content);
        Assert.Empty(file.Documents);
        Assert.Equal(1, file.Unanswered);
        Assert.Equal([new Message(Role.System, "Add."), new Message(Role.User, "1+1?"), new Message(Role.Assistant, "2")], file.Conversations[0].Messages);
        Assert.Equal([new Message(Role.User, "é?"), new Message(Role.Assistant, "é!")], file.Conversations[1].Messages);
        Assert.Equal([$"{_folder["data.jsonl"]}, line {firstLine}", $"{_folder["data.jsonl"]}, line {secondLine}"], file.Conversations.Select(static c => c.Place));
    }

    [Fact]
    public void DocumentsAreRead() => Assert.Equal(["one", "two\n"], Read("\uFEFF{\"text\": \"one\"}\r\n{\"text\": \"two\\n\", \"url\": \"x\"}").Documents);

    [Theory]
    [InlineData("", "is empty")]
    [InlineData(" \n ", "is empty")]
    [InlineData("[]", "has no records")]
    [InlineData("{\"conversations\": [" + Turn + "]}\n{\"conversations\": [", "line 2: a line holds one JSON object")]
    [InlineData("[{\"conversations\": [" + Turn + "]},\n{\"conv", "line 2: not valid JSON")]
    [InlineData("[{\"text\": \"a\"}] x", "line 1: not valid JSON")]
    [InlineData("{\"text\": \"a\", \"text\": \"b\"}", "this one is not valid JSON: Duplicate property 'text'")]
    [InlineData("[{\"text\": \"a\"},\n{\"text\": \"a\", \"text\": \"b\"}]", "line 2: not valid JSON: Duplicate property 'text'")]
    [InlineData("{\"\\ud800\": 0, \"text\": \"a\"}", "this one is not valid JSON: A key is no text")]
    [InlineData("7", "line 1: a record is a JSON object")]
    [InlineData("{\"prompt\": \"a\"}", "line 1: a record has one of 'conversations', 'messages' and 'text', this one has none")]
    [InlineData("{\"text\": \"a\", \"messages\": []}", "this one has messages and text")]
    [InlineData("{\"text\": 3}", "'text' must be a text")]
    [InlineData("{\"text\": \"\\ud800\"}", "'text' is not valid UTF-8")]
    [InlineData("{\"text\": \"a\"}\n{\"conversations\": [" + Turn + "]}", "line 2: a file has conversations or documents")]
    [InlineData("{\"conversations\": [" + Turn + "], \"image_path\": \"a.png\"}", "has 'image_path', and only text is trained on")]
    [InlineData("{\"conversations\": {}}", "a conversation is a list of messages")]
    [InlineData("{\"conversations\": []}", "the conversation has no answer to learn")]
    [InlineData("{\"conversations\": [{\"role\": \"user\", \"content\": \"a\"}]}", "message 1 needs 'from' and 'value'")]
    [InlineData("{\"conversations\": [{\"from\": \"robot\", \"value\": \"a\"}]}", "unknown role 'robot'; there are human (or user), gpt (or assistant) and system")]
    [InlineData("{\"conversations\": [{\"from\": \"gpt\", \"value\": \"a\"}]}", "message 1 is another of the assistant")]
    [InlineData("{\"conversations\": [" + Turn + ", " + "{\"from\": \"gpt\", \"value\": \"3\"}]}", "message 3 is another of the assistant")]
    [InlineData("{\"conversations\": [" + Turn + ", " + "{\"from\": \"system\", \"value\": \"3\"}]}", "message 3 is the system's, which may only be the first")]
    [InlineData("{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}]}", "has no answer to learn")]
    public void RulesAreNamedWithFileAndLine(string content, string rule)
    {
        string message = Assert.Throws<ArgumentException>(() => Read(content)).Message;
        Assert.StartsWith(_folder["data.jsonl"], message, StringComparison.Ordinal);
        Assert.Contains(rule, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void BytesThatAreNoTextAreRefused()
    {
        File.WriteAllBytes(_folder["bad.json"], [.. "{\"text\": \""u8, 0xFF, .. "\"}"u8]);
        Assert.Contains("bad.json, line 1", Assert.Throws<ArgumentException>(() => RecordFile.Read(_folder["bad.json"])).Message, StringComparison.Ordinal);
        Assert.True(RecordFile.IsOne("a.JSON") && RecordFile.IsOne("b.jsonl") && !RecordFile.IsOne("c.txt"));
    }
}
