using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>The keys of published DeepSeek configs, and what they say.</summary>
public sealed class DeepSeekConfigTests
{
    [Fact]
    public void V2LiteIsRead()
    {
        ModelConfig c = Read("deepseek-v2", """
            { "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001,
              "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
              "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1,
              "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 16, "num_experts_per_tok": 6,
              "num_hidden_layers": 27, "num_key_value_heads": 16, "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
              "rms_norm_eps": 1e-06, "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": true, "topk_group": 1,
              "rope_scaling": { "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
                "original_max_position_embeddings": 4096, "type": "yarn" },
              "topk_method": "greedy", "v_head_dim": 128, "vocab_size": 102400 }
            """);
        Assert.Equal(new LatentAttentionConfig(512, 128), c.Attention.Latent);
        Assert.Equal((192, 64, 16, true), (c.Attention.HeadDim, c.Attention.RopeDim, c.Attention.KvHeads, c.Attention.RopeInterleaved));
        Assert.Equal(1, c.Attention.RopeScaling!.Magnitude);
        Assert.Equal(Math.Pow(0.1 * 0.707 * Math.Log(40) + 1, 2), c.Attention.RopeScaling.ScoreGrowth, 1e-5);
        Assert.Equal(new GroupedTopKRouterConfig(6), ((MoeConfig)c.Layers[1]).Router);
        Assert.Equal([new FfnExpertsConfig(64, 1408), new SharedExpertConfig(2816, Gated: false)], ((MoeConfig)c.Layers[26]).Banks);
        Assert.Equal(new DenseConfig(10944), c.Layers[0]);
        Assert.Empty(c.RouterLosses);
    }

    [Fact]
    public void V2IsRead()
    {
        ModelConfig c = Read("deepseek-v2", """
            { "model_type": "deepseek_v2", "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 5120, "intermediate_size": 12288,
              "max_position_embeddings": 163840, "moe_intermediate_size": 1536, "n_group": 8, "n_routed_experts": 160, "n_shared_experts": 2,
              "num_attention_heads": 128, "num_experts_per_tok": 6, "num_hidden_layers": 60, "q_lora_rank": 1536, "routed_scaling_factor": 16.0,
              "topk_group": 3, "topk_method": "group_limited_greedy", "vocab_size": 102400 }
            """);
        Assert.Equal(new LatentAttentionConfig(512, 128, 1536), c.Attention.Latent);
        Assert.Equal(new GroupedTopKRouterConfig(6) { Groups = 8, TopGroups = 3, Scale = 16 }, ((MoeConfig)c.Layers[1]).Router);
    }

    /// <summary>Moonlight: V3's architecture with one group and no rank for queries.</summary>
    [Fact]
    public void MoonlightIsRead()
    {
        ModelConfig c = Read("deepseek-v3", """
            { "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "aux_loss_alpha": 0.001, "ep_size": 1, "first_k_dense_replace": 1,
              "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 11264, "kv_lora_rank": 512, "max_position_embeddings": 8192,
              "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": true,
              "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16, "num_nextn_predict_layers": 0,
              "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-05, "rope_theta": 50000.0,
              "routed_scaling_factor": 2.446, "scoring_func": "sigmoid", "seq_aux": true, "topk_group": 1, "topk_method": "noaux_tc",
              "v_head_dim": 128, "vocab_size": 163840 }
            """);
        Assert.Equal(0, c.Attention.Latent!.QueryRank);
        Assert.Equal(50_000, c.Attention.RopeTheta);
        Assert.Equal(
            new GroupedTopKRouterConfig(6) { Scores = RouterScores.Sigmoid, SelectionBias = true, GroupBest = 2, Renormalize = true, Scale = 2.446f },
            ((MoeConfig)c.Layers[1]).Router);
    }

    /// <summary>Where the reference has a default, the key may be absent; null is something else.</summary>
    [Fact]
    public void AbsentKeysAreTheReferencesDefaults()
    {
        ModelConfig c = Read("deepseek-v3", """
            { "model_type": "deepseek_v3", "hidden_act": "silu", "hidden_size": 7168, "intermediate_size": 18432, "max_position_embeddings": 4096,
              "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_attention_heads": 128, "num_hidden_layers": 61, "vocab_size": 129280 }
            """);
        Assert.Equal(new LatentAttentionConfig(512, 128, 1536), c.Attention.Latent);
        Assert.Equal(new GroupedTopKRouterConfig(8)
        {
            Scores = RouterScores.Sigmoid,
            SelectionBias = true,
            Groups = 8,
            TopGroups = 4,
            GroupBest = 2,
            Renormalize = true,
            Scale = 2.5f,
        }, ((MoeConfig)c.Layers[3]).Router);
        Assert.Equal(3, c.Layers.TakeWhile(static l => l is DenseConfig).Count());
    }

    private static ModelConfig Read(string family, string text)
    {
        ConfigJson json = ConfigJson.Parse("config.json", text);
        Family found = Family.Recognise(json);
        Assert.Equal(family, found.Name);
        ModelConfig config = found.Read(json);
        Assert.True(config.Describes(found.Read(ConfigJson.Parse("written", found.Write(config).ToJsonString()))));
        return config;
    }
}
