using System.Text.Json.Nodes;
using MoeFromScratch.Autograd;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>What OpenMoE does beyond its golden numbers.</summary>
public sealed class OpenMoeTests
{
    /// <summary>Generating without the cache is the reference's way; with it the prompt and each token are passes of their own, with room for all of so few.</summary>
    [Fact]
    public void GeneratingWithoutTheCacheIsTheReferencesWay()
    {
        GoldenCase golden = new("openmoe");
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = LanguageModel.Load(golden.Folder, backend);
        GenerateOptions options = new() { MaxNewTokens = golden.Greedy.Generated.Length, IgnoreEos = true };
        Assert.Equal(golden.Greedy.Generated, TextGeneration.Generate(model, golden.Greedy.Prompt, options with { NoCache = true }).Select(static t => t.Id));
        List<GeneratedToken> cached = [.. TextGeneration.Generate(model, golden.Greedy.Prompt, options)];
        Assert.NotEqual(golden.Greedy.Generated, cached.Select(static t => t.Id));
        Assert.All(cached.Skip(1), static t => Assert.Equal([2, 2], t.Experts));
    }

    /// <summary>The keys that its code looks at have the defaults it gives them, and the others are not looked at.</summary>
    [Fact]
    public void AbsentKeysHaveTheReferencesDefaults()
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(Golden.Folder("openmoe"), "config.json")))!.AsObject();
        foreach (string key in json.Select(static p => p.Key).Where(static k => k.StartsWith("router_", StringComparison.Ordinal)).ToArray())
            json.Remove(key);
        foreach (string key in new[] { "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "mlp_gated", "pretraining_tp" })
            json.Remove(key);
        (json["rope_theta"], json["rope_scaling"], json["topk"], json["router_drop_tks"]) = (7, new JsonObject { ["type"] = "linear", ["factor"] = 2 }, 9, false);
        ModelConfig config = Tiny.Family("openmoe").Read(ConfigJson.Parse("config.json", json.ToJsonString()));
        SwitchRouterConfig router = (SwitchRouterConfig)((MoeConfig)config.Layers[1]).Router;
        Assert.Equal(new SwitchRouterConfig(2) { Capacity = new(2.5f, 4, DropPolicy.Choice) { EvaluationFactor = 4, Rounding = RoomRounding.DownThenEven } }, router);
        Assert.Equal([new LoadBalanceLoss(0.01f) { PaddingCounts = true }, new RouterZLoss(0.0001f) { PaddingCounts = true }], config.RouterLosses);
        Assert.Equal((4, 2048, 1e-6f, 1e4f), (config.Attention.KvHeads, config.MaxPositions, config.RmsNormEps, config.Attention.RopeTheta));
        Assert.Null(config.Attention.RopeScaling);
    }

    /// <summary>A sequence's first token is seen even as padding; other padding is not.</summary>
    [Fact]
    public void TheFirstPlaceIsSeenEvenAsPadding()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = LanguageModel.Load(Golden.Folder("openmoe"), backend);
        float[] plain = Last(5, 6);
        Assert.NotEqual(plain, Last(7, 6));
        Bits.Equal("logits", plain, Last(5, 8));

        float[] Last(int first, int second)     // both padding
        {
            using Tape g = Tape.Inference(backend);
            int[] ids = [first, second, 20, 30];
            Batch batch = Batch.Padded(g, ids, 1, [0, 0, 1, 1], model.Config.Attention.SeesFirst);
            return backend.ToFloats(model.Transformer.Forward(g, batch, []).Logits)[(3 * model.Config.VocabSize)..];
        }
    }
}
