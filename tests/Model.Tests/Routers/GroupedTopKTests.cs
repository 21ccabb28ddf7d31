using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>DeepSeek's routers by hand: the gate is the identity, so that a token is its own logits.</summary>
public sealed class GroupedTopKTests
{
    /// <summary>Logits whose softmax is easy to read: probabilities 0.30, 0.05, 0.08, 0.20, 0.25, 0.12.</summary>
    private static readonly float[] Probs = [0.30f, 0.05f, 0.08f, 0.20f, 0.25f, 0.12f];
    private static readonly float[] Token = [.. Probs.Select(static p => MathF.Log(p) + 3)];

    /// <summary>DeepSeek-V2-Lite: the likeliest, raw.</summary>
    [Fact]
    public void GreedyTakesTheLikeliest()
    {
        Result r = Route(V2("greedy", topK: 3, scale: 1), Token);
        Assert.Equal([1f, 0, 0, 1, 1, 0], r.Selected);
        Near([0.30f, 0, 0, 0.20f, 0.25f, 0], r.Weights);
        Near(Probs, r.Probs);
    }

    /// <summary>DeepSeek-V2: groups (0.30, 0.05), (0.08, 0.20), (0.25, 0.12) by their best; the middle one is closed, though its 0.20 is third.</summary>
    [Fact]
    public void GroupsAreJudgedByTheirBestInV2()
    {
        Result r = Route(V2("group_limited_greedy", topK: 3, scale: 16, groups: 3, topGroups: 2), Token);
        Assert.Equal([1f, 0, 0, 0, 1, 1], r.Selected);
        Near([4.8f, 0, 0, 0, 4, 1.92f], r.Weights);

        r = Route(V2("group_limited_greedy", topK: 2, scale: 2, groups: 2, topGroups: 1), Token);     // (0.30, 0.05, 0.08) has the best, not the most
        Assert.Equal([1f, 0, 1, 0, 0, 0], r.Selected);
        Near([0.6f, 0, 0.16f, 0, 0, 0], r.Weights);
    }

    /// <summary>DeepSeek's code: divided by their sum instead of scaled, and one expert is never divided.</summary>
    [Fact]
    public void NormTopkProbTakesThePlaceOfTheScaleInV2()
    {
        Near([0.3f / 0.55f, 0, 0, 0, 0.25f / 0.55f, 0], Route(V2("greedy", topK: 2, scale: 2.5f, norm: true), Token).Weights);
        Near([0.75f, 0, 0, 0, 0, 0], Route(V2("greedy", topK: 1, scale: 2.5f, norm: true), Token).Weights);
    }

    /// <summary>Scores 0.5, 0.6, 0.9, 0.1 | 0.8, 0.3, 0.2, 0.4: the two best make 1.5 and 1.2; biases turn that round, and the weights do not see them.</summary>
    [Fact]
    public void TheBiasChoosesAndTheScoresWeigh()
    {
        float[] scores = [0.5f, 0.6f, 0.9f, 0.1f, 0.8f, 0.3f, 0.2f, 0.4f], token = [.. scores.Select(static s => MathF.Log(s / (1 - s)))];
        GroupedTopKRouterConfig v3 = V3(topK: 2, scale: 2.5f, groups: 2, topGroups: 1);
        Result r = Route(v3, token);
        Assert.Equal([0f, 1, 1, 0, 0, 0, 0, 0], r.Selected);
        Near([0, 2.5f * 0.6f / 1.5f, 2.5f * 0.9f / 1.5f, 0, 0, 0, 0, 0], r.Weights);
        Near(scores, r.Scores!);
        Near([.. scores.Select(s => s / scores.Sum())], r.Probs);

        r = Route(v3, token, [0, 0, 0, 0, 0, 0.35f, 0, 0]);      // 0.3 + 0.35 passes 0.4: 1.45, not yet 1.5
        Assert.Equal([0f, 1, 1, 0, 0, 0, 0, 0], r.Selected);
        r = Route(v3, token, [0, 0, 0, 0, 0, 0.45f, 0, 0]);
        Assert.Equal([0f, 0, 0, 0, 1, 1, 0, 0], r.Selected);
        Near([0, 0, 0, 0, 2.5f * 0.8f / 1.1f, 2.5f * 0.3f / 1.1f, 0, 0], r.Weights);
    }

    /// <summary>A closed group's scores count as 0, so they pass negative ones; the first of them, as everywhere.</summary>
    [Fact]
    public void ClosedGroupsPassNegativeScores()
    {
        float[] scores = [0.2f, 0.3f, 0.6f, 0.7f], token = [.. scores.Select(static s => MathF.Log(s / (1 - s)))];
        GroupedTopKRouterConfig v3 = V3(topK: 2, scale: 1, groups: 2, topGroups: 1) with { Renormalize = false };
        Result r = Route(v3, token, [-4, -4, -0.5f, -3]);        // groups −7.5 and −2.2; 0.1 in the second, then 0 in the first
        Assert.Equal([1f, 0, 1, 0], r.Selected);
        Near([0.2f, 0, 0.6f, 0], r.Weights);
    }

    /// <summary>All scores 0: weights of 0, not NaN.</summary>
    [Fact]
    public void NothingToShareIsNothing() =>
        Assert.Equal(new float[4], Route(V3(topK: 2, scale: 2, groups: 1, topGroups: 1), [-200, -200, -200, -200]).Weights);

    [Theory]
    [InlineData(2, 4, 2, 1)]     // groups do not divide 6
    [InlineData(2, 3, 4, 1)]     // more groups taken than there are
    [InlineData(2, 3, 0, 1)]
    [InlineData(2, 3, 2, 3)]     // judged by more experts than a group has
    [InlineData(5, 3, 2, 1)]     // 4 experts to choose from
    [InlineData(0, 1, 1, 1)]
    public void ImpossibleGroupsAreRefused(int topK, int groups, int topGroups, int best) => Assert.Throws<ArgumentException>(
        () => Route(new GroupedTopKRouterConfig(topK) { Groups = groups, TopGroups = topGroups, GroupBest = best }, Token));

    /// <summary>Another k for one run keeps scores, groups and scale.</summary>
    [Fact]
    public void AnotherKKeepsTheRest()
    {
        GroupedTopKRouterConfig v3 = V3(topK: 2, scale: 2.5f, groups: 2, topGroups: 1);
        ModelConfig model = Tiny.Config("mixtral") with { Layers = [new MoeConfig(v3, [new FfnExpertsConfig(8, 3)])] };
        MoeConfig changed = (MoeConfig)new RoutingOptions([], [3], []).Apply(model).Layers[0];
        Assert.Equal(v3 with { TopK = 3 }, changed.Router);
        Assert.Throws<ArgumentException>(() => new RoutingOptions([0.5f], [], []).Apply(model));
    }

    private static GroupedTopKRouterConfig V2(string method, int topK, float scale, int groups = 1, int topGroups = 1, bool norm = false) => Read("V2",
        $$"""
        "topk_method": "{{method}}", "n_group": {{groups}}, "topk_group": {{topGroups}}, "num_experts_per_tok": {{topK}},
        "n_routed_experts": 6, "norm_topk_prob": {{(norm ? "true" : "false")}},
        "routed_scaling_factor": {{scale.ToString(System.Globalization.CultureInfo.InvariantCulture)}}
        """);

    private static GroupedTopKRouterConfig V3(int topK, float scale, int groups, int topGroups) => Read("V3",
        $$"""
        "n_group": {{groups}}, "topk_group": {{topGroups}}, "num_experts_per_tok": {{topK}}, "n_routed_experts": 8,
        "routed_scaling_factor": {{scale.ToString(System.Globalization.CultureInfo.InvariantCulture)}}
        """);

    /// <summary>The router that a config.json asks for.</summary>
    private static GroupedTopKRouterConfig Read(string version, string keys)
    {
        ConfigJson json = ConfigJson.Parse("config.json", $$"""
            { "architectures": ["Deepseek{{version}}ForCausalLM"], "vocab_size": 9, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 1,
              "max_position_embeddings": 32, "hidden_act": "silu", "first_k_dense_replace": 0, "moe_intermediate_size": 3, {{keys}} }
            """);
        return (GroupedTopKRouterConfig)((MoeConfig)Family.Recognise(json).Read(json).Layers[0]).Router;
    }

    private static Result Route(GroupedTopKRouterConfig config, float[] token, float[]? bias = null)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        ModelConfig model = Tiny.Config("mixtral") with { HiddenSize = token.Length };
        MoeConfig moe = new(config, [new FfnExpertsConfig(token.Length, 3)]);
        using WeightStore weights = new(backend, new Identity(bias), trainable: false);
        Router router = config.Build(model, moe, weights.Root);
        using Tape g = Tape.Inference(backend, keepAll: true);
        Routing r = router.Route(g, g.Constant<float>([1, token.Length], DType.F32, token), new RouterContext());
        return new Result(backend.ToFloats(r.Selected), backend.ToFloats(r.Weights), backend.ToFloats(r.Probs),
            (r.Detail as GroupedTopKDetail) is { } d ? backend.ToFloats(d.Scores) : null);
    }

    private static void Near(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        foreach ((float e, float a) in expected.Zip(actual))
            Assert.Equal(e, a, 1e-5f);
    }

    private sealed record Result(float[] Selected, float[] Weights, float[] Probs, float[]? Scores);

    /// <summary>The gate as the identity, and the bias as given.</summary>
    private sealed class Identity(float[]? bias) : IWeightSource
    {
        public Tensor Get(string path, Shape shape, Init init)
        {
            Tensor y = new(shape, DType.F32, new NativeStorage(shape.Count * sizeof(float)));
            y.Floats.Clear();
            if (shape.Rank == 1)
                bias?.CopyTo(y.Floats);
            else
                for (int i = 0; i < shape.Rows; i++)
                    y.Floats[i * shape.Cols + i] = 1;
            return y;
        }
    }
}
