using MoeFromScratch.Contract;
using MoeFromScratch.Tensors.Checkpoints;
using static MoeFromScratch.Contract.TemporaryFolder;

namespace MoeFromScratch.Tensors.Tests.Checkpoints;

/// <summary>A folder with a shard "1.safetensors" that holds a and b, another "2.safetensors" with c, and an index that lies.</summary>
public sealed class HostileShardsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public HostileShardsTests()
    {
        SafetensorsWriter.Write(_folder["1.safetensors"], [("a", Filled(DType.F32, [1])), ("b", Filled(DType.F32, [1]))]);
        SafetensorsWriter.Write(_folder["2.safetensors"], [("c", Filled(DType.F32, [1]))]);
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("""{"a":"1.safetensors","b":"1.safetensors","c":"3.safetensors"}""", "tensor 'c': its shard 3.safetensors does not exist")]
    [InlineData("""{"a":"1.safetensors","b":"1.safetensors","c":"1.safetensors"}""", "tensor 'c': its shard 1.safetensors does not hold it")]
    [InlineData("""{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}""", "tensor 'b': its shard 2.safetensors does not hold it")]
    [InlineData("""{"a":"1.safetensors","c":"2.safetensors"}""", "tensor 'b': is not listed")]
    [InlineData("""{"a":"1.safetensors","a":"1.safetensors"}""", "the key 'a' appears twice")]
    [InlineData("""{"a":"../1.safetensors"}""", "tensor 'a': its shard '../1.safetensors' is not the plain name")]
    [InlineData("""{"a":"x/1.safetensors"}""", "is not the plain name")]
    [InlineData("""{"a":"x\\1.safetensors"}""", "is not the plain name")]
    [InlineData("""{"a":"/1.safetensors"}""", "is not the plain name")]
    [InlineData("""{"a":"C:1.safetensors"}""", "is not the plain name")]
    [InlineData("""{"a":"..safetensors"}""", "is not the plain name")]
    [InlineData("""{"a":"1.safetensors\u0000"}""", "is not the plain name")]
    [InlineData("""{"a":"\u00001.safetensors"}""", "is not the plain name")]
    [InlineData("""{"a":"config.json"}""", "is not the plain name")]
    [InlineData("""{"a":1}""", "its shard is not a string")]
    [InlineData("[]", "weight_map is not an object")]
    public void MapsAreRefused(string map, string rule) =>
        AssertIndexRefused($$"""{"metadata":{"total_size":12},"weight_map":{{map}}}""", rule);

    [Theory]
    [InlineData("", "empty")]
    [InlineData("[]", "the index is not an object")]
    [InlineData("{}", "weight_map is missing")]
    [InlineData("""{"weight_map":{}} x""", "something other than padding")]
    [InlineData("""{"weight_map":{},"weight_map":{}}""", "appears twice")]
    [InlineData("""{"metadata":[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]],"weight_map":{}}""", "the JSON cannot be read")]
    public void IndexesAreRefused(string index, string rule) => AssertIndexRefused(index, rule);

    [Fact]
    public void TheSameTensorInTwoShardsIsRefused()
    {
        SafetensorsWriter.Write(_folder["2.safetensors"], [("b", Filled(DType.F32, [1])), ("c", Filled(DType.F32, [1]))]);
        AssertIndexRefused(
            """{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}""", "2.safetensors: tensor 'b': is in 1.safetensors too");
    }

    [Fact]
    public void MetadataIsPassedOver()
    {
        File.WriteAllText(_folder["model.safetensors.index.json"],
            """{"metadata":{"total_size":12.0,"more":[1,{"x":null}]},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"},"z":[]}""");
        using var files = TensorFiles.Open(_folder.Path);
        Assert.Equal(["a", "b", "c"], files.Names);
        Assert.Equal(_folder["2.safetensors"], files.FileOf("c"));
        AssertRefused("tensor 'd': there is no such tensor", () => files.Get("d"));
        AssertRefused("tensor 'd': there is no such tensor", () => files.FileOf("d"));
    }

    [Fact]
    public void AFolderWithoutWeightsIsRefused() =>
        AssertRefused("neither model.safetensors nor model.safetensors.index.json", () => TensorFiles.Open(_folder.Path));

    [Fact]
    public void OneFileIsACheckpoint()
    {
        using var files = TensorFiles.Open(_folder["1.safetensors"]);
        Assert.Equal(["a", "b"], files.Names);
        AssertRefused("there is no such file", () => TensorFiles.Open(_folder["9.safetensors"]));
    }

    [Fact]
    public void ASingleFileWinsOverAnIndex()
    {
        File.WriteAllText(_folder["model.safetensors.index.json"], "not even JSON");
        SafetensorsWriter.Write(_folder["model.safetensors"], [("w", Filled(DType.F32, [1]))]);
        using var files = TensorFiles.Open(_folder.Path);
        Assert.Equal(["w"], files.Names);
    }

    private void AssertIndexRefused(string index, string rule)
    {
        File.WriteAllText(_folder["model.safetensors.index.json"], index);
        AssertRefused(rule, () => TensorFiles.Open(_folder.Path));
    }
}
