using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Model.Tests.Upcycling;

/// <summary>What the reference implementations make of dense models, to the last bit.</summary>
public sealed class GoldenUpcyclingTests : IDisposable
{
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    [Fact]
    public void ACopiedMixtralIsTheGoldenFile()
    {
        string gates = Path.Combine(Golden.Folder("upcycle-copy"), "router.safetensors");
        (string folder, Receipt receipt) = _shop.Upcycle(_shop.Golden("upcycle-copy", "dense_config.json"),
            new UpcycleOptions(Workshop.Way("copy")) { Router = new RouterInit(File: gates), BalanceLoss = 0.02f });
        Assert.Equal("mixtral", receipt.Plan.Family.Name);
        Assert.Equal(File.ReadAllBytes(Path.Combine(Golden.Folder("upcycle-copy"), "model.safetensors")), File.ReadAllBytes(Path.Combine(folder, "model.safetensors")));
        JsonObject written = Config(folder), golden = Config(Golden.Folder("upcycle-copy"));
        foreach (string key in new[] { "model_type", "num_local_experts", "num_experts_per_tok", "intermediate_size", "router_aux_loss_coef", "torch_dtype" })
            Assert.Equal(golden[key]!.ToJsonString(), written[key]!.ToJsonString());

        Dictionary<string, HostTensor> expected = GoldenCase.Read("upcycle-copy", "expected.safetensors");
        HostTensor ids = expected["input_ids"];
        using LanguageModel model = LanguageModel.Load(folder, _shop.Backend);
        Trace trace = new();
        Tracer.Forward(trace, model, new TraceInput([.. ids.Integers!.Select(static i => (int)i)], ids.Shape[0]));
        foreach ((string name, HostTensor e) in expected)
            Close.ByName(name, e, HostTensor.Of(trace.Find(name == "dense.logits" ? "logits" : name)!));

        JsonNode greedy = JsonNode.Parse(File.ReadAllText(Path.Combine(Golden.Folder("upcycle-copy"), "greedy.json")))!;
        int[] prompt = [.. greedy["prompt"]!.AsArray().Select(static n => (int)n!)], generated = [.. greedy["generated"]!.AsArray().Select(static n => (int)n!)];
        using Generator generator = new(model.Transformer, _shop.Backend, prompt.Length + generated.Length);
        generator.Feed(prompt);
        foreach (int id in generated)
        {
            float[] logits = generator.Logits().ToArray();
            Assert.Equal(id, logits.AsSpan().IndexOf(logits.Max()));
            generator.Feed([id]);
        }
    }

    [Theory]
    [InlineData("a")]
    [InlineData("b")]
    [InlineData("c")]
    public void SlicesAreDcMoes(string variant)
    {
        string golden = Golden.Folder("dcmoe-upcycle");
        JsonNode spec = JsonNode.Parse(File.ReadAllText(Path.Combine(golden, "upcycle.json")))![variant]!, args = spec["args"]!;
        string dense = _shop.Golden("dcmoe-upcycle");
        (string folder, Receipt receipt) = _shop.Upcycle(dense, new UpcycleOptions(
            new Slices((int)args["mlp_dynamic_expert_num"]!, (int)args["dynamic_mlp_size_factor"]!, (int)args["fixed_mlp_size_factor"]!, 0.7f, 0, SliceCopies.All))
        {
            Add = AddedExperts.Parse($"null:{args["mlp_dynamic_null_expert_num"]},shared:{args["mlp_fixed_expert_num"]}"),
        });
        Assert.Equal("uni-moe-2", receipt.Plan.Family.Name);
        Dictionary<string, HostTensor> written = Workshop.Read(folder), expected = GoldenCase.Read("dcmoe-upcycle", $"upcycled-{variant}.safetensors");
        foreach ((string name, HostTensor e) in expected)
            Same(name, e, written[name]);
        foreach ((string name, HostTensor e) in Workshop.Read(dense).Where(static t => !t.Key.Contains(".mlp.", StringComparison.Ordinal)))
            Same(name, e, written[name]);
        foreach ((string name, JsonNode? shape) in spec["router_shape_not_copied"]!.AsObject())
            Assert.Equal(shape!.AsArray().Select(static n => (int)n!), [written[name].Shape[0], written[name].Shape[1]]);
        Assert.Equal(expected.Count + 21 + 2, written.Count);

        JsonObject neurons = receipt.ToJson()["neurons"]!.AsObject();
        foreach ((string expert, JsonNode? range) in spec["dense_neurons_of_expert"]!.AsObject())
            if ((int)range![1]! - (int)range[0]! < 48)       // all of them are no part
                Assert.Equal($"{range[0]}-{(int)range[1]! - 1}",
                    (string?)neurons["1." + expert.Replace("fixed", "shared_experts", StringComparison.Ordinal).Replace("dynamic", "experts", StringComparison.Ordinal)]);
    }

    /// <summary>As the reference, which does it with whole copies alone: the first expert of each kind is a slice of the dense network, the others are drawn.</summary>
    [Theory]
    [InlineData(SliceCopies.All)]
    [InlineData(SliceCopies.Single)]
    [InlineData(SliceCopies.None)]
    public void ExpertsAreSlicesOrDrawn(SliceCopies copies)
    {
        (string folder, Receipt receipt) = _shop.Upcycle(_shop.Golden("dcmoe-upcycle"),
            new UpcycleOptions(new Slices(4, 4, 8, 0.7f, 0, copies)) { Add = AddedExperts.Parse("null:1,shared:2") });
        Dictionary<string, HostTensor> written = Workshop.Read(folder), golden = GoldenCase.Read("dcmoe-upcycle", "upcycled-a.safetensors");
        int same = 0;
        foreach ((string name, HostTensor e) in golden)
        {
            bool first = name.Contains("_experts.0.", StringComparison.Ordinal) || name.Contains("fixed_real_moe.0.", StringComparison.Ordinal);
            bool taken = copies == SliceCopies.All || (copies == SliceCopies.Single && first);
            Assert.Equal(taken, e.Floats!.AsSpan().SequenceEqual(written[name].Floats));
            same += taken ? 1 : 0;
        }
        Assert.Equal(copies switch { SliceCopies.All => golden.Count, SliceCopies.Single => golden.Count / 3, _ => 0 }, same);     // 2 of 4 + 2 experts
        Assert.Equal(copies == SliceCopies.Single, receipt.Plan.Notes.Any(static n => n.Contains("at most 36 of 48", StringComparison.Ordinal)));
    }

    /// <summary>As the reference, by an assertion: a slice may not pass the end; with so few experts that none does, the last neurons stay unused.</summary>
    [Fact]
    public void ASliceEndsWhereTheNeuronsDo()
    {
        string dense = _shop.Golden("dcmoe-upcycle");
        Assert.Contains("expert 5 would begin at 45", Assert.Throws<ArgumentException>(() => _shop.Upcycle(dense,
            new UpcycleOptions(new Slices(6, 5, 8, 0.7f, 0, SliceCopies.All)))).Message, StringComparison.Ordinal);
        (_, Receipt receipt) = _shop.Upcycle(dense, new UpcycleOptions(new Slices(5, 5, 8, 0.7f, 0, SliceCopies.All)));
        Assert.Contains("at most 3 of 48", Assert.Single(receipt.Plan.Notes), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("random")]
    [InlineData("clustering")]
    [InlineData("index")]
    public void SplitsAreLlamaMoes(string variant)
    {
        JsonNode spec = JsonNode.Parse(File.ReadAllText(Path.Combine(Golden.Folder("llama-moe-split"), "split.json")))![variant]!;
        string dense = _shop.Golden("llama-moe-split"), table = _shop["table.json"];
        File.WriteAllText(table, spec["table"]!.ToJsonString());
        SplitRouter router = new((int)spec["num_selects"]!, (float?)spec["score_scale_factor"] ?? 1, TwoMatrices: true);
        (string folder, Receipt receipt) = _shop.Upcycle(dense, new UpcycleOptions(GivenSplit.Read(table, router)));
        Assert.Equal("llama-moe", receipt.Plan.Family.Name);
        JsonObject config = Config(folder);
        Assert.Equal((int)spec["num_experts"]!, (int)config["num_experts"]!);
        Assert.Equal((int)spec["num_selects"]!, (int)config["num_selects"]!);
        Assert.Equal((int)spec["intermediate_size"]!, (int)config["intermediate_size"]!);
        Assert.Equal((float?)spec["score_scale_factor"] ?? 1, (float)config["score_scale_factor"]!);
        if (variant == "index")
            Assert.Equal(spec["size_experts"]!.ToJsonString(), config["size_experts"]!.ToJsonString());

        Dictionary<string, HostTensor> written = Workshop.Read(folder), expected = GoldenCase.Read("llama-moe-split", $"split-{variant}.safetensors");
        foreach ((string name, HostTensor e) in expected)
            Same(name, e, written[name]);
        foreach ((string name, HostTensor e) in Workshop.Read(dense).Where(static t => !t.Key.Contains(".mlp.", StringComparison.Ordinal)))
            Same(name, e, written[name]);
        foreach (string name in written.Keys.Where(static n => n.EndsWith("weight_noise.weight", StringComparison.Ordinal)))
            Assert.All(written[name].Floats!, static w => Assert.Equal(0, w));

        Dictionary<string, HostTensor> outputs = GoldenCase.Read("llama-moe-split", "expected.safetensors");
        HostTensor x = outputs["hidden_states"];
        for (int layer = 0; layer < 2; layer++)
        {
            HostTensor y = outputs[$"{variant}.expert_output.{layer}"];
            float[] all = new float[y.Floats!.Length];
            int one = x.Floats!.Length;
            for (int e = 0; e < y.Shape[0]; e++)
                Expert(written, layer, e, x.Floats, x.Shape[1]).CopyTo(all, e * one);
            Close.Activations($"{variant}.expert_output.{layer}", y.Floats, all);
            if (variant != "index")
                Close.Activations("their sum", outputs[$"dense_output.{layer}"].Floats, [.. Enumerable.Range(0, one).Select(i => all.Where((_, j) => j % one == i).Sum())]);
        }
    }

    /// <summary>down(silu(gate x) · up x), by loops.</summary>
    private static float[] Expert(Dictionary<string, HostTensor> model, int layer, int expert, float[] x, int size)
    {
        float[] gate = Part("gate"), up = Part("up"), down = Part("down"), y = new float[x.Length];
        int width = gate.Length / size;
        for (int t = 0; t < x.Length / size; t++)
            for (int f = 0; f < width; f++)
            {
                double g = 0, u = 0;
                for (int d = 0; d < size; d++)
                    (g, u) = (g + gate[f * size + d] * x[t * size + d], u + up[f * size + d] * x[t * size + d]);
                for (int d = 0; d < size; d++)
                    y[t * size + d] += (float)(g / (1 + Math.Exp(-g)) * u * down[d * width + f]);
            }
        return y;

        float[] Part(string name) => model[$"model.layers.{layer}.mlp.calculator.experts.weight_{name}.{expert}"].Floats!;
    }

    private static JsonObject Config(string folder) => JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!.AsObject();

    private static void Same(string name, HostTensor expected, HostTensor actual)
    {
        Assert.True(expected.Shape == actual.Shape, $"{name} has shape {actual.Shape}, not {expected.Shape}");
        Bits.Equal(name, expected.Floats, actual.Floats);
    }
}
