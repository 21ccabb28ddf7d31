using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Tokenizers;

/// <summary>What is not a tokenizer.json, or one of a kind that is not supported, is refused in one line.</summary>
public sealed class HostileTokenizerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0},"merges":[]}}""", "a model of the type 'WordPiece' is not supported")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}""", "'b' has the id 0 of another one")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}""", "the token id -1")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":2000000000},"merges":[]}}""", "the token id 2000000000")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":20000000000},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"\u0061":1},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"\ud83d":0},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0.5},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":"0"},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":[],"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":7,"vocab":{},"merges":[]}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{}}}""", "is not a tokenizer")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}""", "not in the vocabulary")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a"]}}""", "not one of two tokens")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","b","c"]]}}""", "not one of two tokens")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"?"}}""", "no unk_token '?'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"byte_fallback":true}}""", "no <0x00>")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}""", "'dropout' is not supported")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"}}""", "'end_of_word_suffix' is not supported")]
    [InlineData("""{"vocab":{}}""", "is not a tokenizer")]
    [InlineData("[]", "is not a tokenizer")]
    [InlineData("{}", "is not a tokenizer")]
    [InlineData("null", "is not a tokenizer")]
    [InlineData("", "is not a tokenizer")]
    public void OtherModelsAreRefused(string json, string rule) => AssertRefused(json, rule);

    [Theory]
    [InlineData("normalizer", """{"type":"Lowercase"}""", "a normalizer of the type 'Lowercase' is not supported")]
    [InlineData("normalizer", """{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"NFKC"}]}""", "type 'NFKC'")]
    [InlineData("normalizer", """{"type":"Replace","pattern":{"Regex":" +"},"content":""}""", "normalizer of the type 'Replace' with the pattern")]
    [InlineData("normalizer", """{"type":"Replace","pattern":{"String":""},"content":""}""", "normalizer of the type 'Replace' with the pattern")]
    [InlineData("normalizer", """{"type":"Sequence","normalizers":[{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaa"},{"type":"Replace","pattern":{"String":"aa"},"content":"aaaaaaaaaaaaaaaaaaaa"}]}""",
        "the normalizer may make a text more than 64 times as long")]
    [InlineData("normalizer", "7", "is not a tokenizer")]
    [InlineData("pre_tokenizer", """{"type":"Whitespace"}""", "a pre_tokenizer of the type 'Whitespace' is not supported")]
    [InlineData("pre_tokenizer", """{"type":"ByteLevel"}""", "is not a tokenizer")]
    [InlineData("pre_tokenizer", """{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"},{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"}]}]}""",
        "the pre_tokenizer may make a text more than 64 times as long")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"a"},"behavior":"MergedWithNext"}""", "behavior 'MergedWithNext'")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}""", "the pattern ( is not valid")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"a++"},"behavior":"Isolated"}""", "a possessive quantifier")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"[a[b]]"},"behavior":"Isolated"}""", "a class inside a class")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"^a"},"behavior":"Isolated"}""", "an anchor")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"\\h+"},"behavior":"Isolated"}""", @"\h")]
    [InlineData("pre_tokenizer", """{"type":"Split","pattern":{"Regex":"\\p{Han}"},"behavior":"Isolated"}""", @"\p{H")]
    [InlineData("post_processor", """{"type":"BertProcessing"}""", "a post_processor of the type 'BertProcessing' is not supported")]
    [InlineData("post_processor", """{"type":"TemplateProcessing","single":[],"special_tokens":{}}""", "the text 0 times")]
    [InlineData("post_processor", """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[5]}}}""", "the id 5, which is no token's")]
    [InlineData("decoder", """{"type":"Metaspace"}""", "a decoder of the type 'Metaspace' is not supported")]
    [InlineData("decoder", """{"type":"Replace","pattern":{"String":"a"},"content":"12345678901234567890123456789012345678901234567890123456789012345"}""", "the decoder may make a text more than 64 times as long")]
    [InlineData("decoder", """{"type":"Strip","content":"ab","start":1,"stop":0}""", "a Strip of 'ab'")]
    [InlineData("added_tokens", """[{"id":0,"content":"b"}]""", "collides")]
    [InlineData("added_tokens", """[{"id":1,"content":"a"}]""", "collides")]
    [InlineData("added_tokens", """[{"id":1,"content":"b"},{"id":1,"content":"c"}]""", "collides")]
    [InlineData("added_tokens", """[{"id":1,"content":""}]""", "an added token is empty")]
    [InlineData("added_tokens", """[{"id":4194304,"content":"b"}]""", "the token id 4194304")]
    [InlineData("added_tokens", "{}", "is not a tokenizer")]
    public void OtherPartsAreRefused(string part, string json, string rule) =>
        AssertRefused($$$"""{"{{{part}}}":{{{json}}},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}""", rule);

    [Fact]
    public void MissingFilesAreRefused() => TemporaryFolder.AssertRefused("no such file", () => Tokenizer.Load(_folder["none.json"]));

    [Fact]
    public void BytesOtherThanUtf8AreRefused()
    {
        File.WriteAllBytes(_folder["tokenizer.json"], [.. "{\"model\":{\"type\":\"BPE\",\"vocab\":{\""u8, 0xFF, .. "\":0},\"merges\":[]}}"u8]);
        TemporaryFolder.AssertRefused("not UTF-8", () => Tokenizer.Load(_folder["tokenizer.json"]));
    }

    /// <summary>A sound file with a value somewhere replaced, removed or copied elsewhere, or a few characters changed.</summary>
    [Fact]
    public void DamagedFilesLoadOrAreRefused()
    {
        string sound = Sound();
        Random random = new(20250602);
        int loaded = 0;
        for (int i = 0; i < 4_000; i++)
        {
            string damaged = i % 2 == 0 ? ChangeValue(sound, random) : ChangeText(sound, random);
            try
            {
                Tokenizer tokenizer = Tokenizer.Parse(damaged);
                loaded++;
                Assert.All(tokenizer.Encode("a b"), id => Assert.InRange(id, 0, tokenizer.VocabSize - 1));
            }
            catch (CheckpointException e)
            {
                Assert.DoesNotContain('\n', e.Message);
            }
            catch (ArgumentException e)
            {
                Assert.Contains("vocabulary has no character", e.Message, StringComparison.Ordinal);
            }
            catch (Exception e)
            {
                Assert.Fail($"case {i}: {e}\n{damaged}");
            }
        }
        Assert.InRange(loaded, 100, 3_900);
    }

    private static string Sound()
    {
        JsonObject json = JsonNode.Parse("""
            {"added_tokens":[{"id":6,"content":"<s>","single_word":false,"lstrip":true,"rstrip":false,"normalized":false,"special":true}],
            "normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend","prepend":"a"},{"type":"Replace","pattern":{"String":"x"},"content":"b"}]},
            "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{L}+|\\p{N}{1,3}| ?[^\\s]+|\\s+(?!\\S)"},"behavior":"Isolated","invert":false},
            {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
            "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
            "special_tokens":{"<s>":{"id":"<s>","ids":[6],"tokens":["<s>"]}}},
            "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"b"},"content":"x"},{"type":"ByteFallback"},{"type":"Fuse"},
            {"type":"Strip","content":"a","start":1,"stop":0}]},
            "model":{"type":"BPE","unk_token":"?","fuse_unk":true,"byte_fallback":false,"ignore_merges":false,"dropout":null,
            "vocab":{"?":0,"a":1,"b":2,"Ġ":3,"ab":4,"Ġb":5},"merges":["a b",["Ġ","b"]]}}
            """)!.AsObject();
        return json.ToJsonString();
    }

    private static string ChangeValue(string sound, Random random)
    {
        JsonNode root = JsonNode.Parse(sound)!;
        List<JsonNode> all = [.. Inside(root)];
        JsonNode victim = all[random.Next(all.Count)];
        string[] values = ["null", "true", "-1", "7", "1e99", "0.5", "\"\"", "\"a\"", "[]", "{}", "[[]]", "4194304", "99999999999", "\"BPE\"", all[random.Next(all.Count)].ToJsonString()];
        victim.ReplaceWith(JsonNode.Parse(values[random.Next(values.Length)]));
        return root.ToJsonString();
    }

    private static IEnumerable<JsonNode> Inside(JsonNode node)
    {
        IEnumerable<JsonNode?> children = node switch
        {
            JsonObject o => o.Select(static p => p.Value),
            JsonArray a => a,
            _ => [],
        };
        foreach (JsonNode child in children.OfType<JsonNode>())
        {
            yield return child;
            foreach (JsonNode deeper in Inside(child))
                yield return deeper;
        }
    }

    private static string ChangeText(string sound, Random random)
    {
        const string alphabet = "{}[]\",:\\0123456789-+.eE \n\0ßutruefalsnIF()*?^$|";
        List<char> text = [.. sound];
        for (int edits = random.Next(1, 3); edits > 0; edits--)
        {
            int at = random.Next(text.Count);
            switch (random.Next(3))
            {
                case 0:
                    text[at] = alphabet[random.Next(alphabet.Length)];
                    break;
                case 1:
                    text.Insert(at, alphabet[random.Next(alphabet.Length)]);
                    break;
                default:
                    text.RemoveAt(at);
                    break;
            }
        }
        return new string([.. text]);
    }

    private void AssertRefused(string json, string rule)
    {
        File.WriteAllText(_folder["tokenizer.json"], json);
        CheckpointException refusal = TemporaryFolder.AssertRefused(rule, () => Tokenizer.Load(_folder["tokenizer.json"]));
        Assert.StartsWith(_folder.Path, refusal.Message, StringComparison.Ordinal);
    }
}
