using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Tests.Checkpoints;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests;

/// <summary>Stretched rotary frequencies where they are known without the formula that is tested.</summary>
public sealed class RopeScalingTests
{
    private const double TwoPi = 2 * Math.PI;

    [Fact]
    public void LinearDividesAll()
    {
        float[] plain = Frequencies(null), stretched = Frequencies(new LinearRopeScaling(4));
        Assert.Equal(plain.Select(static f => f / 4), stretched);
    }

    /// <summary>In an original context of 100: five turns, two and a half (half way), half a turn.</summary>
    [Theory]
    [InlineData(5, 5)]
    [InlineData(4, 4)]
    [InlineData(2.5, 2.5 * 0.5625)]
    [InlineData(1, 0.125)]
    [InlineData(0.5, 0.0625)]
    public void Llama3KeepsFastPairsAndDividesSlowOnes(double turns, double expected)
    {
        Llama3RopeScaling scaling = new(Factor: 8, LowFrequencyFactor: 1, HighFrequencyFactor: 4, OriginalMaxPositions: 100);
        Assert.Equal(expected, scaling.Stretch((float)(turns * TwoPi / 100), pair: 0, headDim: 2, theta: 1) * 100 / TwoPi, 1e-5);
    }

    /// <summary>
    /// Head size 16, base 10000, original context 32: one turn is at pair 8 · log₁₀₀₀₀(32 / 2π) = 1.41, so the ramp ends at 2;
    /// 32 turns would be before the first pair, so it begins at 0.
    /// </summary>
    [Fact]
    public void YarnRampsBetweenPairs()
    {
        float[] stretched = Frequencies(new YarnRopeScaling(4, 32, 32, 1, 1));
        double[] expected = [1, 0.31622777 * 0.625, 0.1 / 4, 0.031622777 / 4, 0.01 / 4, 0.0031622777 / 4, 0.001 / 4, 0.00031622777 / 4];
        Assert.Equal(expected.Length, stretched.Length);
        foreach ((double e, float a) in expected.Zip(stretched))
            Assert.Equal(e, a, 1e-6 * e);
    }

    /// <summary>The ramp of before, which ends at 1.41 now: pair 1 is 1 / (2 log₁₀(32 / 2π)) of the way.</summary>
    [Fact]
    public void YarnRampsWithoutRounding()
    {
        float[] stretched = Frequencies(new YarnRopeScaling(4, 32, 32, 1, 1, Truncate: false));
        Assert.Equal(0.31622777 * (1 - 0.75 * 0.70724348), stretched[1], 1e-7);
        Assert.Equal([1, 0.1f / 4], [stretched[0], stretched[2]]);
        Assert.False(Assert.IsType<YarnRopeScaling>(Read("""{"rope_type":"yarn","factor":4,"truncate":false}""")).Truncate);
    }

    [Fact]
    public void YarnGrowsByTheLogarithm()
    {
        Assert.Equal(1.138629f, YarnRopeScaling.Growth(4), 1e-6f);
        Assert.Equal(1, YarnRopeScaling.Growth(1));
        Assert.Equal(1.138629f, Read("""{"type":"yarn","factor":4}""").Magnitude, 1e-6f);
        Assert.Equal(1.5f, Read("""{"rope_type":"yarn","factor":4,"attention_factor":1.5}""").Magnitude);
        Assert.Equal(1, Read("""{"rope_type":"yarn","factor":4,"mscale":0.7,"mscale_all_dim":0.7}""").Magnitude);
        Assert.Equal(256, Assert.IsType<YarnRopeScaling>(Read("""{"rope_type":"yarn","factor":4}""")).OriginalMaxPositions);
    }

    /// <summary>gpt-oss-20b's config.json, less its quantisation.</summary>
    [Fact]
    public void TheReleasedGptOssIsRead()
    {
        ModelConfig model = Tiny.Family("gpt-oss").Read(ConfigJson.Parse("config.json", """
            {"architectures":["GptOssForCausalLM"],"attention_bias":true,"attention_dropout":0.0,"eos_token_id":200002,"experts_per_token":4,"head_dim":64,
            "hidden_act":"silu","hidden_size":2880,"initial_context_length":4096,"initializer_range":0.02,"intermediate_size":2880,
            "max_position_embeddings":131072,"model_type":"gpt_oss","num_attention_heads":64,"num_experts_per_tok":4,"num_hidden_layers":24,
            "num_key_value_heads":8,"num_local_experts":32,"output_router_logits":false,"pad_token_id":199999,"rms_norm_eps":1e-05,
            "rope_scaling":{"beta_fast":32.0,"beta_slow":1.0,"factor":32.0,"original_max_position_embeddings":4096,"rope_type":"yarn","truncate":false},
            "rope_theta":150000,"router_aux_loss_coef":0.9,"sliding_window":128,"swiglu_limit":7.0,"tie_word_embeddings":false,"use_cache":true,
            "vocab_size":201088}
            """));
        Assert.Equal([128, 0, 128, 0], Enumerable.Range(0, 4).Select(model.WindowOf));
        Assert.Equal(new YarnRopeScaling(32, 4096, 32, 1, YarnRopeScaling.Growth(32), Truncate: false), model.Attention.RopeScaling);

        // With x(n) = 32 ln(4096 / 2πn) / ln 150000 pairs, the ramp goes from x(32) = 8.09 to x(1) = 17.40.
        float[] plain = model.Attention.RopeFrequencies(null), stretched = model.Attention.RopeFrequencies(model.Attention.RopeScaling);
        foreach ((int pair, double kept) in new[] { (0, 1), (8, 1), (9, 0.9025044), (17, 0.0427742), (18, 0), (31, 0) })
            Assert.Equal(kept + (1 - kept) / 32, stretched[pair] / plain[pair], 1e-5);
    }

    /// <summary>Queries and keys that grow by 1.3 make scores that grow by 1.69.</summary>
    [Fact]
    public void GrowthIsOfQueriesAndKeys()
    {
        ModelConfig plain = Variants.All["granitemoe"];   // a family that can say both
        AttentionConfig heads = plain.Attention with { RopeScaling = null };
        float[] grown = Logits(heads with { RopeScaling = new YarnRopeScaling(1, 32, 32, 1, 1.3f) });
        Close.Activations("logits", Logits(heads with { Scale = 1.69f * heads.Scale }), grown);
        Assert.NotEqual(Logits(heads), grown);

        float[] Logits(AttentionConfig attention)
        {
            using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("granitemoe"), plain with { Attention = attention }, seed: 8);
            return Tiny.Logits(model, [3, 1, 4, 1, 5, 9], 6);
        }
    }

    /// <summary>Up to the original context as with the short factors alone, beyond it as with the long ones.</summary>
    [Fact]
    public void LongRopeGoesByTheContext()
    {
        int[] seven = [3, 1, 4, 1, 5, 9, 2], six = seven[..6];
        Bits.Equal("short", Logits(Near, six), Logits(Both, six));
        Bits.Equal("long", Logits(Far, seven), Logits(Both, seven));
        Assert.NotEqual(Logits(Near, six), Logits(Far, six));

        static float[] Logits(RopeScaling scaling, int[] ids) => With(scaling, model => Tiny.Logits(model, ids, ids.Length));
    }

    /// <summary>Texts that cross the original length in different steps: with the cache as without, whatever their limit, and each as if alone.</summary>
    [Fact]
    public void GenerationCrossesFromShortToLong()
    {
        int[][] prompts = [[3, 1, 4], [1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9]];
        List<int[]> together = Ids(prompts, 8, noCache: false);
        Assert.Equal(together, Ids(prompts, 8, noCache: true));
        Assert.Equal(together, prompts.Select(prompt => Ids([prompt], 8, noCache: false)[0]));
        Assert.Equal(together.Select(static ids => ids[..4]), Ids(prompts, 4, noCache: false));
        Assert.NotEqual(together, With(Near, model => Generate(model, prompts, 8, false)));

        static List<int[]> Ids(int[][] prompts, int count, bool noCache) => With(Both, model => Generate(model, prompts, count, noCache));

        static List<int[]> Generate(LanguageModel model, int[][] prompts, int count, bool noCache)
        {
            GenerateOptions options = new() { Sampler = new SamplerOptions(), MaxNewTokens = count, NoCache = noCache, IgnoreEos = true };
            ILookup<int, int> ids = new Continuations(model, prompts, options, tokenizer: null).Run()
                .Where(static p => p.Piece.Token is not null).ToLookup(static p => p.Prompt, static p => p.Piece.Token!.Value.Id);
            return [.. prompts.Select((_, i) => ids[i].ToArray())];
        }
    }

    private static readonly PairwiseRopeScaling Near = new([1, 1.5f, 2], 1.1f), Far = new([3, 40, 5], 2.3f);
    private static readonly LongRopeScaling Both = new(Near, Far, OriginalMaxPositions: 6);

    private static T With<T>(RopeScaling scaling, Func<LanguageModel, T> run)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        ModelConfig plain = Tiny.Config("mixtral"), config = plain with { Attention = plain.Attention with { RopeScaling = scaling } };
        using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 8);
        return run(model);
    }

    /// <summary>Phi's keys; transformers' one factor for both; and nothing said: √(1 + ln 4 / ln 64) from a context of 64 to one of 256.</summary>
    [Fact]
    public void LongRopeIsReadInBothDialects()
    {
        const string Factors = "\"type\":\"longrope\",\"short_factor\":[1,2],\"long_factor\":[3,4],\"original_max_position_embeddings\":64";
        LongRopeScaling phi = Assert.IsType<LongRopeScaling>(Read("{" + Factors + ",\"short_mscale\":1.25,\"long_mscale\":1.5}", ownGrowth: true));
        Assert.Equal(new LongRopeScaling(new([1, 2], 1.25f), new([3, 4], 1.5f), 64), phi);
        Assert.Equal(1.75f, Read("{" + Factors + ",\"attention_factor\":1.75}").In(65).Magnitude);
        Assert.Equal(1.154701f, Read("{" + Factors + "}").In(1).Magnitude, 1e-6f);
        Assert.Equal([0.5f, 0.125f], new AttentionConfig { Heads = 1, KvHeads = 1, HeadDim = 4, RopeTheta = 4 }.RopeFrequencies(new PairwiseRopeScaling([2, 4], 1)));
    }

    private static float[] Frequencies(RopeScaling? scaling) =>
        new AttentionConfig { Heads = 1, KvHeads = 1, HeadDim = 16 }.RopeFrequencies(scaling);

    /// <summary>As part of a config whose context is 256.</summary>
    private static RopeScaling Read(string json, bool ownGrowth = false) =>
        RopeScalingKeys.Read(ConfigJson.Parse("config.json", $$"""{"max_position_embeddings":256,"rope_scaling":{{json}}}"""), ownGrowth: ownGrowth)!;
}
