using System.Buffers.Binary;
using MoeFromScratch.Contract;
using MoeFromScratch.Tensors.Checkpoints;
using static MoeFromScratch.Contract.TemporaryFolder;

namespace MoeFromScratch.Tensors.Tests.Checkpoints;

/// <summary>Each rule of the format, broken once; the refusal names the file, the tensor and the rule.</summary>
public sealed class HostileFileTests : IDisposable
{
    private const string A = """ "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]} """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Header, bytes of data, tensor named in the message, part of the message.</summary>
    public static TheoryData<string, int, string?, string> Headers => new()
    {
        { "[]", 0, null, "does not begin with '{'" },
        { " {}", 0, null, "does not begin with '{'" },
        { "{", 0, null, "the JSON cannot be read" },
        { "{}x", 0, null, "something other than padding" },
        { "{}{}", 0, null, "something other than padding" },
        { "{}\n", 0, null, "something other than padding" },
        { "{} \0", 0, null, "something other than padding" },
        { "{" + A + ",}", 8, null, "the JSON cannot be read" },
        { "{/**/}", 0, null, "the JSON cannot be read" },
        { "{" + A + "," + A + "}", 8, null, "the key 'a' appears twice" },
        { "{" + A + """,\u0061":{}}""".Replace(",\\", ",\"\\", StringComparison.Ordinal), 8, null, "the key 'a' appears twice" },
        { """{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "a", "the key 'dtype' appears twice" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}""", 8, "a", "unknown key 'x'" },
        { """{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8, "a", "dtype is missing" },
        { """{"a":{"dtype":"F32","data_offsets":[0,8]}}""", 8, "a", "shape is missing" },
        { """{"a":{"dtype":"F32","shape":[2]}}""", 8, "a", "data_offsets is missing" },
        { """{"a":[]}""", 0, "a", "its entry is not an object" },
        { """{"a":null}""", 0, "a", "its entry is not an object" },
        { """{"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}}""", 8, "a", "dtype is not a string" },
        { """{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}""", 8, "a", "unknown dtype 'F33'" },
        { """{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}""", 8, "a", "unknown dtype 'f32'" },
        { """{"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}""", 8, "a", "shape is not an array" },
        { """{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}""", 8, "a", "shape holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}""", 8, "a", "shape holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}""", 8, "a", "shape holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "a", "shape holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}""", 0, "a", "shape holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}}""", 8, "a", "shape holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551624]}}""", 8, "a", "data_offsets holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "a", "data_offsets holds something that is not an integer" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}}""", 8, "a", "data_offsets has 1 numbers" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", 8, "a", "data_offsets has 3 numbers" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "a", "begin at 8, after their end 0" },
        { """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "a", "F32[3] takes 12 bytes, but data_offsets span 8" },
        { """{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}""", 1, "a", "F4[3] takes 1.5 bytes" },
        { """{"a":{"dtype":"F32","shape":[],"data_offsets":[0,8]}}""", 8, "a", "F32[] takes 4 bytes" },
        { """{"a":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,8]}}""", 8, "a", "takes 10000000000 bytes" },
        { """{"a":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}""", 8, "a", "truncated: of 10000000000 bytes of data 9999999992 are missing" },
        { """{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "a", "more bytes than can be counted" },
        { """{"a":{"dtype":"F64","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]}}""", 0, "a", "more bytes than can be counted" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""", 8, "a", "8 bytes before its data belong to no tensor" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[9223372036854775799,9223372036854775807]}}""", 8, "a", "bytes before its data belong to no tensor" },
        { "{" + A + "}", 12, null, "the last 4 bytes belong to no tensor" },
        { "{}", 4, null, "the last 4 bytes belong to no tensor" },
        { "{" + A + "}", 5, "a", "truncated: of 8 bytes of data 3 are missing" },
        { "{" + A + ""","b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}""", 8, "b", "overlap those of tensor 'a'" },
        { "{" + A + ""","b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, null, "overlap those of tensor" },
        { "{" + A + ""","b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}""", 8, "b", "overlap those of tensor 'a'" },
        { "{" + A + ""","b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}}""", 10, "b", "1 bytes before its data belong to no tensor" },
        { """{"__metadata__":"pt"}""", 0, null, "__metadata__ is not an object" },
        { """{"__metadata__":{"a":1}}""", 0, null, "__metadata__ 'a' is not a string" },
        { """{"__metadata__":{"a":{"b":"c"}}}""", 0, null, "__metadata__ 'a' is not a string" },
        { """{"__metadata__":{"a":"1","a":"1"}}""", 0, null, "the key 'a' appears twice" },
        { """{"__metadata__":{},"__metadata__":{}}""", 0, null, "the key '__metadata__' appears twice" },
        { """{"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}}""", 8, "a", "the JSON cannot be read" },
        { """{"\ud800":{}}""", 0, null, "half a surrogate pair" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x\nERROR: all is well":1}}""", 8, "a", @"unknown key 'x\u000AERROR" },
    };

    [Theory]
    [MemberData(nameof(Headers))]
    public void HeadersAreRefused(string header, int dataBytes, string? tensor, string rule)
    {
        string path = _folder.Put("x.safetensors", header, dataBytes);
        CheckpointException refusal = AssertRefused(rule, () => SafetensorsFile.Open(path));
        Assert.StartsWith(path, refusal.Message, StringComparison.Ordinal);
        Assert.Equal(path, refusal.File);
        if (tensor is not null)
            Assert.Equal(tensor, refusal.Tensor);
    }

    [Theory]
    [InlineData("[", 1_000_000)]
    [InlineData("""{"a":""", 1_000_000)]
    public void DeepNestingDoesNotOverflow(string opening, int times)
    {
        string path = _folder.Put("x", """{"a":{"shape":""" + string.Concat(Enumerable.Repeat(opening, times)), 0);
        AssertRefused(path, () => SafetensorsFile.Open(path));
    }

    [Theory]
    [InlineData(0, 8, "the header's length is 0")]
    [InlineData(9, 8, "truncated: of 9 bytes of header 1 are missing")]
    [InlineData(100_000_000, 8, "truncated: of 100000000 bytes of header 99999992 are missing")]
    [InlineData(100_000_001, 8, "the limit is 100000000")]
    [InlineData(long.MaxValue, 8, "the limit is 100000000")]
    [InlineData(-1, 8, "the header claims 18446744073709551615 bytes")]
    public void HeaderLengthsAreRefused(long claimed, int present, string rule)
    {
        byte[] bytes = new byte[8 + present];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, claimed);
        File.WriteAllBytes(_folder["x"], bytes);
        AssertRefused(rule, () => SafetensorsFile.Open(_folder["x"]));
    }

    [Fact]
    public void EveryTruncationIsRefused()
    {
        byte[] whole = Bytes("{" + A + "}", 8);
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(_folder["x"], whole[..length]);
            AssertRefused(length == 0 ? "empty" : length < 8 ? "too few" : "missing", () => SafetensorsFile.Open(_folder["x"]));
        }
    }

    [Fact]
    public void InvalidUtf8IsRefused()
    {
        byte[] bytes = Bytes("{" + A + "}", 8);
        bytes[Array.IndexOf(bytes, (byte)'a')] = 0xFF;
        File.WriteAllBytes(_folder["x"], bytes);
        AssertRefused("not valid UTF-8", () => SafetensorsFile.Open(_folder["x"]));
    }

    [Theory]
    [InlineData("U8", 8, "[8]")]
    [InlineData("BOOL", 8, "[2,2,2]")]
    [InlineData("I16", 8, "[4]")]
    [InlineData("F8_E4M3", 8, "[8]")]
    [InlineData("U64", 8, "[1]")]
    [InlineData("F4", 1, "[2]")]
    public void OtherTypesAreListedButNotGot(string dtype, int bytes, string shape)
    {
        string path = _folder.Put("x", $$$"""{"a":{"dtype":"{{{dtype}}}","shape":{{{shape}}},"data_offsets":[0,{{{bytes}}}]}}""", bytes);
        using var file = SafetensorsFile.Open(path);
        Assert.Equal(dtype, Assert.Single(file.Entries).DType);
        AssertRefused($"tensor 'a': dtype {dtype} is not supported", () => file.Get("a"));
    }

    [Theory]
    [InlineData("[1,1,2,1,1]", 8, "5 dimensions")]
    [InlineData("[0,2147483648]", 0, "dimension 2147483648 is beyond 2147483647")]
    public void ShapesBeyondOursAreListedButNotGot(string shape, int bytes, string rule)
    {
        string path = _folder.Put("x", $$$"""{"a":{"dtype":"F32","shape":{{{shape}}},"data_offsets":[0,{{{bytes}}}]}}""", bytes);
        using var file = SafetensorsFile.Open(path);
        Assert.True(file.Contains("a"));
        AssertRefused(rule, () => file.Get("a"));
    }

    [Fact]
    public void MissingTensorsAndFilesAreNamed()
    {
        string path = _folder.Put("x", "{" + A + "}", 8);
        using var file = SafetensorsFile.Open(path);
        Assert.False(file.Contains("b"));
        AssertRefused("tensor 'b': there is no such tensor", () => file.Get("b"));
        AssertRefused("there is no such file", () => SafetensorsFile.Open(_folder["nowhere"]));
        AssertRefused("cannot be opened", () => SafetensorsFile.Open(_folder.Path));
    }

    [Fact]
    public void LongNamesAreCutInMessages()
    {
        string path = _folder.Put("x", $$"""{"{{new string('n', 100_000)}}":[]}""", 0);
        Assert.True(AssertRefused("nnn…'", () => SafetensorsFile.Open(path)).Message.Length < 1000);
    }
}
