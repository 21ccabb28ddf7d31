using System.Text.Json.Nodes;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>Golden models whose config.json was tampered with: one line that names the file and the key.</summary>
public sealed class HostileConfigTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly IBackend _backend = Machines.Make(Machines.Cpu(8, 1));

    public void Dispose()
    {
        Assert.Equal(0, _backend.LiveBuffers);
        _backend.Dispose();
        _folder.Dispose();
    }

    /// <summary>Our own models' configs: what to replace in the one of a model with everything, by what, part of the message.</summary>
    [Theory]
    [InlineData("\"type\":\"dcmoe\"", "\"type\":\"oracle\"", "layers[0]: router: type must be top_k or top_p or moe_plus_plus")]
    [InlineData("\"top_p\":0.8", "\"top_p\":-1", "top_p and jitters must be at least 0")]
    [InlineData("\"top_p\":0.8,", "", "top_p")]
    [InlineData("\"top_p\":0.8", "\"top_p\":0.8,\"top_q\":0.8", "unknown key 'top_q'")]
    [InlineData("\"count\":2", "\"count\":-2", "1 to 65536 experts")]
    [InlineData("\"count\":2", "\"count\":2147483647", "1 to 65536 experts")]
    [InlineData("\"count\":2", "\"count\":3", "gating residuals join layers")]
    [InlineData("\"vocab_size\":31,", "", "vocab_size")]
    [InlineData("\"kv_heads\":2", "\"kv_heads\":3", "kv_heads divides heads")]
    [InlineData("\"qk_norm\":\"per_head\"", "\"qk_norm\":1", "qk_norm")]
    [InlineData("\"banks\":[", "\"banks\":[null,", "layers[0]: banks[0] must be an object, not null")]
    [InlineData("\"layers\":[", "\"layers\":[null,", "layers[0] must be an object, not null")]
    [InlineData("\"layers\":[", "\"layers\":null,\"x\":[", "layers")]
    [InlineData("\"intermediate_size\":7", "\"intermediate_size\":0", "widths lie between")]
    [InlineData("\"intermediate_size\":3", "\"intermediate_size\":0", "widths lie between")]
    [InlineData("\"stacked\":false", "\"stacked\":true", "at most one bank of stacked experts")]
    [InlineData("\"full_attention_layers\":[1]", "\"full_attention_layers\":[3]", "full_attention_layers are some of the layers")]
    [InlineData("\"full_attention_layers\":[1]", "\"full_attention_layers\":[-1]", "full_attention_layers must be a list of integers of at least 0")]
    [InlineData("\"full_attention_layers\":[1]", "\"full_attention_layers\":[2,1]", "full_attention_layers are some of the layers")]
    [InlineData("\"full_attention_layers\":[1]", "\"full_attention_layers\":null", "full_attention_layers")]
    [InlineData("\"logits_scaling\":1", "\"logits_scaling\":0", "logits_scaling is not 0")]
    [InlineData("\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", "frequencies and magnitude above 0")]
    [InlineData("\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"pairwise\",\"factors\":[1],\"grows\":1}", "factors for 1 pairs")]
    [InlineData("\"gate\":{\"hidden_size\":9,\"bias\":false,\"residual\":true}", "\"gate\":null", "layers[0]: router: gate must be a value, not null")]
    public void OurOwnConfigsAreRefused(string part, string by, string rule)
    {
        using (LanguageModel model = LanguageModel.Create(_backend, Tiny.Family("moe_from_scratch"), Variants.Everything(), seed: 1))
            model.Save(_folder.Path);
        string json = JsonNode.Parse(File.ReadAllText(_folder["config.json"]))!.ToJsonString();
        Assert.Contains(part, json, StringComparison.Ordinal);
        int at = json.IndexOf(part, StringComparison.Ordinal);
        File.WriteAllText(_folder["config.json"], json[..at] + by + json[(at + part.Length)..]);
        TemporaryFolder.AssertRefused(rule, () => LanguageModel.Load(_folder.Path, _backend));
    }

    /// <summary>Golden case, key, raw JSON to put there (nothing to remove it), part of the message.</summary>
    public static TheoryData<string, string, string?, string> Tampered => new()
    {
        { "mixtral", "hidden_size", "-48", "hidden_size must be an integer from 1" },
        { "mixtral", "hidden_size", "0", "hidden_size must be" },
        { "mixtral", "hidden_size", "48.5", "hidden_size must be" },
        { "mixtral", "hidden_size", "1e400", "hidden_size must be" },
        { "mixtral", "hidden_size", "\"48\"", "hidden_size must be" },
        { "mixtral", "hidden_size", "[48]", "hidden_size must be" },
        { "mixtral", "hidden_size", "99999999999999999999", "hidden_size must be" },
        { "mixtral", "hidden_size", "2147483647", "hidden_size must be" },
        { "mixtral", "hidden_size", "49", "hidden_size 49 is not a multiple of num_attention_heads 4" },
        { "mixtral", "hidden_size", "56", "has shape [96, 48], the config asks for [96, 56]" },
        { "mixtral", "hidden_size", "null", "hidden_size is missing" },
        { "mixtral", "hidden_size", null, "hidden_size is missing" },
        { "mixtral", "vocab_size", null, "vocab_size is missing" },
        { "mixtral", "vocab_size", "4194304", "the config asks for [4194304, 48]" },
        { "mixtral", "num_hidden_layers", null, "num_hidden_layers is missing" },
        { "mixtral", "num_hidden_layers", "4096", "model.layers.3.input_layernorm.weight" },
        { "mixtral", "num_hidden_layers", "4097", "num_hidden_layers must be" },
        { "mixtral", "num_hidden_layers", "2", "is no part of a mixtral model with this config" },
        { "mixtral", "num_local_experts", null, "num_local_experts is missing" },
        { "mixtral", "num_local_experts", "65536", "block_sparse_moe.gate.weight" },
        { "mixtral", "num_local_experts", "65537", "num_local_experts must be" },
        { "mixtral", "num_experts_per_tok", "5", "num_experts_per_tok must be an integer from 1 to 4" },
        { "mixtral", "num_experts_per_tok", "0", "num_experts_per_tok must be" },
        { "mixtral", "num_experts_per_tok", null, "num_experts_per_tok is missing" },
        { "mixtral", "num_key_value_heads", "3", "num_attention_heads 4 is not a multiple of num_key_value_heads 3" },
        { "mixtral", "num_key_value_heads", "0", "num_key_value_heads must be" },
        { "mixtral", "num_key_value_heads", "8", "is not a multiple of num_key_value_heads 8" },
        { "mixtral", "num_attention_heads", null, "num_attention_heads is missing" },
        { "mixtral", "num_attention_heads", "5", "is not a multiple of num_attention_heads 5" },
        { "mixtral", "num_attention_heads", "16", "rotary embedding needs an even head size, not 3" },
        { "mixtral", "num_attention_heads", "65537", "num_attention_heads must be" },
        { "mixtral", "head_dim", "13", "rotary embedding needs an even head size, not 13" },
        { "mixtral", "head_dim", "4194304", "4 heads of 4194304 are more than" },
        { "mixtral", "rms_norm_eps", "NaN", "not valid JSON" },
        { "mixtral", "rms_norm_eps", "\"NaN\"", "rms_norm_eps must be a finite number above 0" },
        { "mixtral", "rms_norm_eps", "-1e-5", "rms_norm_eps must be a finite number above 0" },
        { "mixtral", "rms_norm_eps", "0", "rms_norm_eps must be a finite number above 0" },
        { "mixtral", "rope_theta", "1e999", "rope_theta must be a finite number above 0" },
        { "mixtral", "rope_theta", "0", "rope_theta must be a finite number above 0" },
        { "mixtral", "rope_theta", "true", "rope_theta must be" },
        { "mixtral", "rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "rope_scaling is not supported" },
        { "mixtral", "router_aux_loss_coef", "-1", "router_aux_loss_coef must be a finite number of at least 0" },
        { "mixtral", "sliding_window", "-1", "sliding_window must be" },
        { "mixtral", "tie_word_embeddings", "\"false\"", "tie_word_embeddings must be true or false" },
        { "mixtral", "tie_word_embeddings", "true", "differs from model.embed_tokens.weight" },
        { "mixtral", "hidden_act", "\"gelu\"", "hidden_act must be silu or swish, not \"gelu\"" },
        { "mixtral", "hidden_act", "\"\\ud800\"", "hidden_act holds half a surrogate pair" },
        { "mixtral", "bos_token_id", "-1", "bos_token_id must be" },
        { "mixtral", "eos_token_id", "[1, \"2\"]", "eos_token_id must be" },
        { "mixtral", "eos_token_id", "{}", "eos_token_id must be" },
        { "mixtral", "max_position_embeddings", "0", "max_position_embeddings must be" },
        { "mixtral", "architectures", "[\"\\ud800\"]", "architectures holds half a surrogate pair" },
        { "mixtral", "architectures", "[\"MoEForCausalLM\"]", "num_experts is missing" },
        { "moe-plus-plus", "num_experts", "8", "num_experts must be a list of one integer" },
        { "moe-plus-plus", "num_experts", "[8, 8]", "num_experts must be a list of one integer" },
        { "moe-plus-plus", "num_experts", "[4]", "num_experts must be an integer from 5" },
        { "moe-plus-plus", "num_experts", "[9]", "gate.wg.0.weight" },
        { "moe-plus-plus", "moe_expert_interval", "2", "moe_expert_interval must be" },
        { "moe-plus-plus", "moe_2layer_gate", "false", "gate.wg.weight" },
        { "moe-plus-plus", "moe_gate_norm_std", "0", "moe_gate_norm_std must be" },
        { "moe-plus-plus", "rope_scaling", "{\"type\":\"yarn\",\"factor\":2.0}", "another type than linear" },
        { "llama-moe", "rope_scaling", "{\"type\":\"dynamic\",\"factor\":2.0}", "type must be default or linear" },
        { "uni-moe-2", "mlp_dynamic_top_p", "-0.1", "mlp_dynamic_top_p must be" },
        { "uni-moe-2", "mlp_dynamic_expert_num", "5", "mlp.gate.weight" },
        { "uni-moe-2", "mlp_dynamic_null_expert_num", "-1", "mlp_dynamic_null_expert_num must be" },
        { "uni-moe-2", "mlp_fixed_expert_num", null, "mlp_fixed_expert_num is missing" },
        { "uni-moe-2", "rope_scaling", "{\"type\":\"yarn\"}", "type must be mrope or default or null" },
        { "uni-moe-2", "rope_scaling", "3", "rope_scaling must be an object" },
        { "uni-moe-2", "use_sliding_window", "true", "use_sliding_window is not supported" },
        { "uni-moe-2-topk", "mlp_dynamic_top_k", "6", "mlp_dynamic_top_k must be an integer from 1 to 5" },
        { "uni-moe-2-topk", "mlp_dynamic_top_k", "0", "mlp_dynamic_top_k must be" },
        { "uni-moe-2-drop", "drop_policy", "\"random\"", "drop_policy must be probs or position" },
        { "uni-moe-2-drop", "capacity_factor", "0", "capacity_factor must be" },
        { "uni-moe-2-drop", "min_capacity", "-1", "min_capacity must be" },
        { "dense-llama", "intermediate_size", null, "intermediate_size is missing" },
        { "dense-llama", "attention_bias", "true", "model.layers.0.self_attn.q_proj.bias" },
        { "dense-llama", "mlp_bias", "true", "model.layers.0.mlp.gate_proj.bias" },
        { "dense-llama", "mlp_bias", "1", "mlp_bias must be true or false" },
        { "dense-llama", "rope_scaling", "{\"rope_type\":\"dynamic\"}", "rope_type must be default or linear or llama3 or yarn or longrope" },
        { "dense-llama", "rope_scaling", "{\"rope_type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}", "rope_scaling has factors for 1 pairs" },
        { "dense-llama", "rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}", "type must be default or linear or llama3 or yarn" },
        { "dense-llama", "rope_scaling", "{}", "type is missing" },
        { "dense-llama", "rope_scaling", "[]", "rope_scaling must be an object" },
        { "dense-llama", "rope_scaling", "{\"type\":\"linear\"}", "factor is missing" },
        { "dense-llama", "rope_scaling", "{\"type\":\"linear\",\"factor\":0.5}", "factor must be a finite number of at least 1" },
        { "dense-qwen2", "rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":8}", "low_freq_factor is missing" },
        { "qwen3-moe", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":0}", "original_max_position_embeddings must be" },
        { "qwen2-moe", "rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "rope_scaling is not supported" },
        { "phimoe", "rope_scaling", "{\"type\":\"longrope\"}", "short_factor is missing" },
        { "phimoe", "rope_scaling", "{\"type\":\"longrope\",\"short_factor\":[1,0],\"long_factor\":[1]}", "short_factor must be a list of finite numbers above 0" },
        { "phimoe", "rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "another type than longrope" },
        { "dense-llama", "rope_parameters", "{\"rope_theta\":5}", "rope_parameters is not supported" },
        { "dense-llama", "partial_rotary_factor", "0.5", "partial_rotary_factor is not supported" },
        { "dense-llama", "quantization_config", "{}", "quantization_config is not supported" },
        { "dense-qwen2", "use_sliding_window", "true", "use_sliding_window without layer_types is ambiguous" },
        { "dense-qwen2", "max_window_layers", "-1", "max_window_layers must be" },
        { "dense-qwen2", "layer_types", "[\"sliding_attention\", \"full_attention\", \"full_attention\"]", "but use_sliding_window is false" },
        { "dense-qwen2", "layer_types", "[\"full_attention\"]", "layer_types must be a list of 3 times" },
        { "dense-qwen2", "tie_word_embeddings", "false", "lm_head.weight" },
        { "olmoe", "clip_qkv", "0", "clip_qkv must be a finite number above 0" },
        { "olmoe", "clip_qkv", "\"1\"", "clip_qkv must be" },
        { "olmoe", "head_dim", "10", "4 heads of 10 do not make up hidden_size 48" },
        { "olmoe", "num_key_value_heads", "2", "has shape [48, 48], the config asks for [24, 48]" },
        { "olmoe", "num_experts_per_tok", "9", "num_experts_per_tok must be an integer from 1 to 8" },
        { "qwen2-moe", "shared_expert_intermediate_size", null, "shared_expert_intermediate_size is missing" },
        { "qwen2-moe", "shared_expert_intermediate_size", "71", "model.layers.0.mlp.shared_expert.gate_proj.weight" },
        { "qwen2-moe", "decoder_sparse_step", "0", "decoder_sparse_step must be" },
        { "qwen2-moe", "decoder_sparse_step", "2", "model.layers.0.mlp.gate_proj.weight" },
        { "qwen2-moe", "mlp_only_layers", "[1]", "model.layers.1.mlp.gate_proj.weight" },
        { "qwen2-moe", "mlp_only_layers", "[-1]", "mlp_only_layers must be a list of integers of at least 0" },
        { "qwen2-moe", "mlp_only_layers", "1", "mlp_only_layers must be a list" },
        { "qwen2-moe", "qkv_bias", "false", "is no part of a qwen2-moe model" },
        { "qwen2-moe", "use_sliding_window", "true", "use_sliding_window without layer_types is ambiguous" },
        { "qwen3-moe", "use_sliding_window", "true", "sliding_window is missing" },
        { "qwen3-moe", "moe_intermediate_size", null, "moe_intermediate_size is missing" },
        { "qwen3-moe", "attention_bias", "true", "model.layers.0.self_attn.q_proj.bias" },
        { "qwen3-moe", "head_dim", null, "model.layers.0.self_attn.q_proj.weight" },
        { "granitemoe", "logits_scaling", "0", "logits_scaling must be a finite number above 0" },
        { "granitemoe", "embedding_multiplier", "-1", "embedding_multiplier must be" },
        { "granitemoe", "num_local_experts", "5", "has shape [6, 48], the config asks for [5, 48]" },
        { "granitemoe", "intermediate_size", "41", "has shape [6, 80, 48], the config asks for [6, 82, 48]" },
        { "granitemoe", "intermediate_size", "4194304", "the config asks for [6, 8388608, 48]" },
        { "phimoe", "num_experts_per_tok", "3", "num_experts_per_tok must be an integer from 2 to 2" },
        { "phimoe", "router_jitter_noise", "-1", "router_jitter_noise must be" },
        { "phimoe", "lm_head_bias", "false", "tensor 'lm_head.bias'" },
        { "phimoe", "num_local_experts", "1", "num_local_experts must be" },
        { "deepseek-v3", "kv_lora_rank", "21", "has shape [28, 48], the config asks for [29, 48]" },
        { "deepseek-v3", "kv_lora_rank", "0", "kv_lora_rank must be" },
        { "deepseek-v3", "kv_lora_rank", "4194304", "are more than" },
        { "deepseek-v3", "q_lora_rank", "null", "tensor 'model.layers.0.self_attn.q_proj.weight'" },
        { "deepseek-v3", "q_lora_rank", null, "the config asks for [1536, 48]" },
        { "deepseek-v3", "qk_rope_head_dim", "7", "rotary embedding needs an even" },
        { "deepseek-v3", "qk_rope_head_dim", "10", "the config asks for" },
        { "deepseek-v3", "qk_nope_head_dim", "-8", "qk_nope_head_dim must be" },
        { "deepseek-v3", "v_head_dim", "4194304", "are more than" },
        { "deepseek-v3", "v_head_dim", "12", "model.layers.0.self_attn.kv_b_proj.weight" },
        { "deepseek-v3", "num_key_value_heads", "2", "num_key_value_heads 2 is not num_attention_heads 4" },
        { "deepseek-v3", "attention_bias", "true", "model.layers.0.self_attn.q_a_proj.bias" },
        { "deepseek-v3", "n_group", "3", "8 experts cannot form 3 groups judged by their best 2" },
        { "deepseek-v3", "n_group", "8", "8 experts cannot form 8 groups judged by their best 2" },
        { "deepseek-v3", "topk_group", "5", "of which 5 are taken" },
        { "deepseek-v3", "topk_group", "1", "top_k must lie between 1 and the 2 experts to choose from" },
        { "deepseek-v3", "num_experts_per_tok", "9", "num_experts_per_tok must be an integer from 1 to 8" },
        { "deepseek-v3", "n_shared_experts", "2", "model.layers.1.mlp.shared_experts.gate_proj.weight" },
        { "deepseek-v3", "n_shared_experts", "null", "is no part of a deepseek-v3 model" },
        { "deepseek-v3", "n_shared_experts", "4194304", "wider than" },
        { "deepseek-v3", "first_k_dense_replace", "2", "model.layers.1.mlp.gate_proj.weight" },
        { "deepseek-v3", "moe_layer_freq", "2", "model.layers.1.mlp.gate_proj.weight" },
        { "deepseek-v3", "routed_scaling_factor", "-1", "routed_scaling_factor must be" },
        { "deepseek-v3", "scoring_func", "\"softmax\"", "scoring_func must be null or sigmoid" },
        { "deepseek-v3", "topk_method", "\"greedy\"", "topk_method must be null or noaux_tc" },
        { "deepseek-v3", "rope_interleave", "1", "rope_interleave must be true or false" },
        { "deepseek-v3", "rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}", "type must be default or linear" },
        { "deepseek-v3", "num_hidden_layers", "2", "is no part of a deepseek-v3 model" },
        { "deepseek-v3", "architectures", "[\"DeepseekV2ForCausalLM\"]", "is no part of a deepseek-v2 model" },
        { "deepseek-v3", "rope_scaling", "{\"type\":\"linear\",\"factor\":2,\"mscale_all_dim\":1}", "mscale_all_dim is not supported" },
        { "deepseek-v3-yarn", "rope_scaling", "{\"type\":\"yarn\",\"factor\":4,\"mscale\":1,\"mscale_all_dim\":-1}", "mscale_all_dim must be" },
        { "llama-moe", "size_experts", "[[208]]", "size_experts needs, for each of 3 layers, 8 sizes above 0 that add up to intermediate_size 208" },
        { "llama-moe", "size_experts", "[208]", "size_experts must be a list of lists" },
        { "llama-moe", "intermediate_size", "209", "intermediate_size 209 is not a multiple of num_experts 8" },
        { "llama-moe", "score_scale_factor", "[1, 2]", "score_scale_factor must be one finite number of at least 0, or a list of 3" },
        { "llama-moe", "gate_use_softmax", "false", "gate_use_softmax false is not supported" },
        { "llama-moe", "gate_type", "\"SwitchBalancedGate\"", "gate_type must be TopKBalancedNoisyGate or null" },
        { "llama-moe", "calculator_type", "\"SwitchDropTokenCalculator\"", "calculator_type must be" },
        { "llama-moe", "gate_network", "\"linear\"", "model.layers.0.mlp.gate.gate_network.weight" },
        { "llama-moe", "gate_add_noise", "false", "tensor 'model.layers.0.mlp.gate.weight_noise.weight'" },
        { "llama-moe", "num_selects", "9", "num_selects must be an integer from 1 to 8" },
        { "openmoe", "hidden_act", "\"silu\"", "hidden_act must be swiglu" },
        { "openmoe", "head_dim", null, "head_dim is missing" },
        { "openmoe", "head_dim", "11", "rotary embedding needs an even head size" },
        { "openmoe", "mlp_gated", "false", "mlp_gated false is no network" },
        { "openmoe", "moe_layer_interval", "0", "moe_layer_interval must be" },
        { "openmoe", "moe_layer_interval", "3", "model.layers.1.mlp.gate_proj.weight" },
        { "openmoe", "num_experts", null, "num_experts is missing" },
        { "openmoe", "num_experts", "5", "has shape [4, 40], the config asks for [5, 40]" },
        { "openmoe", "intermediate_size", "41", "the config asks for [82, 40]" },
        { "openmoe", "pretraining_tp", "2", "pretraining_tp must be" },
        { "openmoe", "router_topk", "3", "router_topk must be an integer from 1 to 2" },
        { "openmoe", "router_capacity_factor_train", "0", "router_capacity_factor_train must be" },
        { "openmoe", "router_capacity_factor_eval", "-1", "router_capacity_factor_eval must be" },
        { "openmoe", "router_min_capacity", "-1", "router_min_capacity must be" },
        { "openmoe", "router_noisy_policy", "\"Laplace\"", "router_noisy_policy must be Jitter or Gaussian or null" },
        { "openmoe", "router_aux_loss_factor", "-0.1", "router_aux_loss_factor must be" },
        { "gpt-oss", "layer_types", "[\"sliding_attention\"]", "layer_types must be a list of 2 times sliding_attention or full_attention" },
        { "gpt-oss", "layer_types", "[\"full_attention\", \"chunked_attention\"]", "layer_types must be a list of 2 times" },
        { "gpt-oss", "layer_types", "[\"full_attention\", 1]", "layer_types must be a list of 2 times" },
        { "gpt-oss", "layer_types", "[\"full_attention\", \"\\ud800\"]", "layer_types holds half a surrogate pair" },
        { "gpt-oss", "layer_types", "\"full_attention\"", "layer_types must be a list of 2 times" },
        { "gpt-oss", "sliding_window", "null", "sliding_window is missing" },
        { "gpt-oss", "sliding_window", "0", "sliding_window must be" },
        { "gpt-oss", "swiglu_limit", "5.5", "another swiglu_limit than 7" },
        { "gpt-oss", "swiglu_alpha", "1.7", "or swiglu_alpha than 1.702" },
        { "gpt-oss", "rope_scaling", null, "rope_scaling is missing" },
        { "gpt-oss", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":2,\"truncate\":0}", "truncate must be true or false" },
        { "gpt-oss", "quantization_config", "{\"quant_method\":\"mxfp4\"}", "quantization_config is not supported" },
        { "gpt-oss", "attention_bias", "false", "is no part of a gpt-oss model" },
        { "gpt-oss", "head_dim", null, "head_dim is missing" },
        { "gpt-oss", "intermediate_size", "29", "has shape [6, 40, 56], the config asks for [6, 40, 58]" },
        { "gpt-oss", "num_local_experts", "5", "model.layers.0.mlp.router.weight" },
        { "gpt-oss", "num_experts_per_tok", "7", "num_experts_per_tok must be an integer from 1 to 6" },
        { "dynamic-moe", "top_p_threshold", "NaN", "not valid JSON" },
        { "dynamic-moe", "top_p_threshold", "-0.1", "top_p_threshold must be a finite number of at least 0" },
        { "dynamic-moe", "top_p_threshold", "1e39", "top_p_threshold must be" },
        { "dynamic-moe", "top_p_threshold", null, "top_p_threshold is missing" },
        { "dynamic-moe", "expert_frequency", "0", "expert_frequency must be" },
        { "dynamic-moe", "expert_frequency", "2", "model.layers.1.mlp.mlp.gate_proj.weight" },
        { "dynamic-moe", "num_experts", null, "num_experts is missing" },
        { "dynamic-moe", "num_experts", "5", "model.layers.0.mlp.router.weight" },
        { "dynamic-moe", "intermediate_size", "57", "the config asks for [57, 40]" },
    };

    public static TheoryData<string> Goldens { get; } = [.. GoldenCase.Names];

    [Theory]
    [MemberData(nameof(Tampered))]
    public void TamperedConfigsAreRefused(string golden, string key, string? value, string rule)
    {
        Copy(golden);
        string text = File.ReadAllText(_folder["config.json"]);
        JsonObject json = JsonNode.Parse(text)!.AsObject();
        json.Remove(key);
        text = json.ToJsonString();
        if (value is not null)
            text = $"{text[..^1]},\"{key}\":{value}}}";
        File.WriteAllText(_folder["config.json"], text);
        CheckpointException refusal = TemporaryFolder.AssertRefused(rule, () => LanguageModel.Load(_folder.Path, _backend).Dispose());
        Assert.StartsWith(_folder.Path, refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("\"mixtral\"")]
    [InlineData("{")]
    [InlineData("{\"hidden_size\":1,\"hidden_size\":2}")]
    [InlineData("{\"hidden_size\":1,\"hidden\\u005fsize\":2}")]
    [InlineData("{} x")]
    public void BrokenJsonIsRefused(string text)
    {
        Copy("mixtral");
        File.WriteAllText(_folder["config.json"], text);
        TemporaryFolder.AssertRefused("config.json", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
    }

    [Fact]
    public void DeepNestingAndHugeConfigsAreRefused()
    {
        Copy("mixtral");
        File.WriteAllText(_folder["config.json"], $"{{\"a\":{new string('[', 100_000)}{new string(']', 100_000)}}}");
        TemporaryFolder.AssertRefused("config.json", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
        using (FileStream file = File.OpenWrite(_folder["config.json"]))
            file.SetLength(1L << 32);
        TemporaryFolder.AssertRefused("a config of 4294967296 bytes is no config", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
    }

    [Fact]
    public void UnknownArchitecturesListTheKnownOnes()
    {
        Copy("mixtral");
        foreach (string config in new[] { """{"architectures":["GPT2LMHeadModel"],"model_type":"gpt2"}""", """{"model_type":"gpt2"}""", "{}" })
        {
            File.WriteAllText(_folder["config.json"], config);
            CheckpointException refusal = TemporaryFolder.AssertRefused("is not supported", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
            Assert.Contains("supported are MoEForCausalLM, MixtralForCausalLM", refusal.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>Without an architecture, the model type or a telling key decides.</summary>
    [Theory]
    [MemberData(nameof(Goldens))]
    public void FamiliesAreRecognisedWithoutAnArchitecture(string golden)
    {
        Copy(golden);
        JsonObject json = JsonNode.Parse(File.ReadAllText(_folder["config.json"]))!.AsObject();
        Family family = Family.Recognise(ConfigJson.Read(_folder["config.json"]));
        json.Remove("architectures");
        File.WriteAllText(_folder["config.json"], json.ToJsonString());
        using LanguageModel model = LanguageModel.Load(_folder.Path, _backend);
        Assert.Same(family, model.Family);
    }

    /// <summary>Dynamic-MoE's reference never looks at these keys.</summary>
    [Fact]
    public void DynamicMoeIgnoresWhatItsReferenceIgnores()
    {
        Copy("dynamic-moe");
        JsonObject json = JsonNode.Parse(File.ReadAllText(_folder["config.json"]))!.AsObject();
        (json["num_key_value_heads"], json["rope_theta"], json["experts_topk"], json["head_dim"]) = (1, 5.0, 99, 7);
        File.WriteAllText(_folder["config.json"], json.ToJsonString());
        using LanguageModel model = LanguageModel.Load(_folder.Path, _backend), original = LanguageModel.Load(Golden.Folder("dynamic-moe"), _backend);
        Assert.Equal(original.Config.Attention, model.Config.Attention);
    }

    [Fact]
    public void MissingFilesAreRefused()
    {
        TemporaryFolder.AssertRefused("there is no such folder", () => LanguageModel.Load(_folder["nowhere"], _backend).Dispose());
        TemporaryFolder.AssertRefused("config.json: there is no such file", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
        Copy("mixtral");
        File.Delete(_folder["model.safetensors"]);
        TemporaryFolder.AssertRefused("neither model.safetensors nor", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
        Copy("mixtral-bf16-sharded");
        File.Delete(_folder["model-00002-of-00002.safetensors"]);
        TemporaryFolder.AssertRefused("its shard model-00002-of-00002.safetensors does not exist", () => LanguageModel.Load(_folder.Path, _backend).Dispose());
    }

    private void Copy(string golden)
    {
        foreach (string file in Directory.EnumerateFiles(Golden.Folder(golden)))
            File.Copy(file, _folder[Path.GetFileName(file)], overwrite: true);
    }
}
