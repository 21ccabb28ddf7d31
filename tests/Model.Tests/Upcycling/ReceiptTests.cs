using System.Text.Json.Nodes;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Upcycling;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>The receipt is all it takes to make the model again.</summary>
public sealed class ReceiptTests : IDisposable
{
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    public static TheoryData<string> Ways => Workshop.Ways;

    [Theory]
    [MemberData(nameof(Ways))]
    public void EveryTensorIsWhatTheReceiptSays(string way)
    {
        string dense = _shop.Golden("dense-llama", weights: "model.safetensors");
        (string folder, Receipt receipt) = _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way(way))
        {
            Add = AddedExperts.Parse(way is "importance" or "copy" or "copy, top-p" ? "constant,copy:2,null" : "constant,copy:2,null,shared"),
        });
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, Receipt.FileName)))!.AsObject();
        Dictionary<string, HostTensor> written = Workshop.Read(folder), source = Workshop.Read(dense);
        JsonArray tensors = json["tensors"]!.AsArray();
        Assert.Equal(written.Keys.Order(StringComparer.Ordinal), tensors.Select(static t => (string)t!["name"]!));
        int drawn = 0;
        foreach (JsonNode? t in tensors)
        {
            HostTensor actual = written[(string)t!["name"]!];
            Assert.Equal(Enumerable.Range(0, actual.Shape.Rank).Select(i => actual.Shape[i]), t["shape"]!.AsArray().Select(static n => (int)n!));
            if (t["from"] is { } from)
                Bits.Equal((string)t["name"]!, Make(source[(string)from!], t, json["neurons"]!), actual.Floats);
            else if ((string?)t["drawn"] == "0 everywhere")
                Assert.All(actual.Floats!, static w => Assert.Equal(0, w));
            else if (t["drawn"] is not null && actual.Floats!.Length > 500)
                drawn += Deviates(actual.Floats, 0.02) ? 1 : 0;
        }
        Assert.Equal(way == "no slices" ? 3 * 3 * 7 : 0, tensors.Count(static t => t!["drawn"] is not null && ((string)t["name"]!).Contains("_proj", StringComparison.Ordinal) && !((string)t["drawn"]!).StartsWith('0')));
        Assert.True(drawn > 0 || !way.StartsWith("no", StringComparison.Ordinal));
        int taken = tensors.Count(static t => t!["from"] is not null), whole = tensors.Count(static t => t!["from"] is not null && (t["rows"] ?? t["columns"] ?? t["times"]) is null);
        Assert.Equal((whole, taken - whole, tensors.Count(static t => t!["drawn"] is not null), tensors.Count(static t => (t!["from_file"] ?? t["computed"]) is not null)), receipt.Counts);
        Assert.Equal(receipt.Parameters, (long)json["parameters"]!);
        Assert.Equal(source.Values.Sum(static s => s.Shape.Count), (long)json["dense_parameters"]!);
        Assert.Equal(receipt.Difference.Layers, json["difference"]!["layers"]!.AsArray().Select(static n => (double)n!));
    }

    /// <summary>Its tokenizer, though none of ours can read it, and what says how to sample.</summary>
    [Fact]
    public void WhatBelongsToTheModelGoesAlong()
    {
        const string Tokenizer = """{ "model": { "type": "Unigram" } }""", Sampling = """{ "top_k": 3 }""";
        string dense = _shop.Tiny();
        File.WriteAllText(Path.Combine(dense, "tokenizer.json"), Tokenizer);
        File.WriteAllText(Path.Combine(dense, "generation_config.json"), Sampling);
        (string folder, Receipt receipt) = _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way("copy")));
        Assert.Equal((Tokenizer, Sampling), (File.ReadAllText(Path.Combine(folder, "tokenizer.json")), File.ReadAllText(Path.Combine(folder, "generation_config.json"))));
        Assert.StartsWith("random ids, of a built-in text: ", receipt.Sample.Source, StringComparison.Ordinal);
        Assert.Contains("tokenizer.json", receipt.Sample.Source, StringComparison.Ordinal);
    }

    /// <summary>What the receipt's words mean, by another way of doing it: element by element in double.</summary>
    private static float[] Make(HostTensor dense, JsonNode t, JsonNode neurons)
    {
        int rows = dense.Shape.Rank > 1 ? dense.Shape[0] : 1, cols = dense.Floats!.Length / rows;
        int[] r = List(t["rows"], rows), c = List(t["columns"], cols);
        float times = (float?)t["times"] ?? 1;
        return [.. r.SelectMany(i => c.Select(j => (float)((double)dense.Floats[i * cols + j] * times)))];

        int[] List(JsonNode? key, int all) => key is null ? [.. Enumerable.Range(0, all)] : [.. ((string)neurons[(string)key!]!).Split(',').SelectMany(static part =>
        {
            int[] ends = [.. part.Split('-').Select(int.Parse)];
            return Enumerable.Range(ends[0], ends[^1] - ends[0] + 1);
        })];
    }

    private static bool Deviates(float[] values, double deviation)
    {
        double measured = Math.Sqrt(values.Sum(static v => (double)v * v) / values.Length);
        Assert.InRange(measured, 0.85 * deviation, 1.15 * deviation);
        return true;
    }

    /// <summary>Stored halves keep their bits where they are copied, and where the factor is a power of two; the config says their type.</summary>
    [Theory]
    [InlineData(DType.BF16, "bfloat16")]
    [InlineData(DType.F16, "float16")]
    public void HalvesStayHalves(DType dtype, string torchName)
    {
        string dense = Halved(dtype);
        (string copied, _) = _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way("copy")));
        Assert.Contains($"\"torch_dtype\": \"{torchName}\"", File.ReadAllText(Path.Combine(copied, "config.json")), StringComparison.Ordinal);
        (string grouped, _) = _shop.Upcycle(dense, new UpcycleOptions(Workshop.Way("groups")));     // 2 · 4² / 4 = 8
        using TensorFiles from = TensorFiles.Open(dense), copies = TensorFiles.Open(copied), groups = TensorFiles.Open(grouped);
        Assert.All(copies.Names.Concat(groups.Names), n => Assert.Equal(dtype, (copies.Contains(n) ? copies : groups).Get(n).DType));
        ushort[] whole = from.Get("model.layers.1.mlp.down_proj.weight").Host<ushort>().ToArray();
        Assert.Equal(whole, copies.Get("model.layers.1.block_sparse_moe.experts.3.w2.weight").Host<ushort>().ToArray());
        float[] up = Floats(from.Get("model.layers.1.mlp.up_proj.weight")), down = Floats(from.Get("model.layers.1.mlp.down_proj.weight"));
        float[] partUp = Floats(groups.Get("model.layers.1.mlp.experts.5.up_proj.weight")), partDown = Floats(groups.Get("model.layers.1.mlp.experts.5.down_proj.weight"));
        int size = 20, width = 6;
        Assert.Equal(up.Skip(width * size).Take(width * size).Select(static w => 4 * w), partUp);     // copy 1 of shard 1
        Assert.Equal(down.Where((_, i) => i % 24 / width == 1).Select(static w => 2 * w), partDown);

        float[] Floats(Tensor x) => [.. x.Host<ushort>().ToArray().Select(h => dtype == DType.BF16 ? DTypes.FromBF16(h) : DTypes.FromF16(h))];
    }

    private string Halved(DType dtype)
    {
        string dense = _shop.Tiny();
        List<(string, Tensor)> halves = [];
        foreach ((string name, HostTensor t) in Workshop.Read(dense))
        {
            Tensor half = new(t.Shape, dtype, new NativeStorage(2 * t.Shape.Count));
            for (int i = 0; i < t.Floats!.Length; i++)
                half.Host<ushort>()[i] = dtype == DType.BF16 ? DTypes.ToBF16(t.Floats[i]) : DTypes.ToF16(t.Floats[i]);
            halves.Add((name, half));
        }
        SafetensorsWriter.Write(Path.Combine(dense, "model.safetensors"), halves);
        return dense;
    }
}
