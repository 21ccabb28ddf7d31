using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Dynamic-MoE (Huang et al., 2024, arXiv 2403.07652): Top-P routing with raw probabilities. Says "llama" in its model
/// type. Always multi-head with rotary base 10000, whatever its keys for those say; every expert_frequency-th layer, the
/// first included, has experts and the others one SwiGLU of the same width.
/// </summary>
public sealed class DynamicMoe : Family
{
    private const float RopeTheta = 10_000;

    public override string Name => "dynamic-moe";
    public override string Architecture => "MoEForCausalLM";

    public override bool Recognises(ConfigJson json) => json.Has("top_p_threshold");

    public override ModelConfig Read(ConfigJson json)
    {
        int frequency = json.Int("expert_frequency", absent: 1);
        int experts = json.Int("num_experts", max: ConfigJson.MaxExperts);
        int width = json.Int("intermediate_size");
        TopPRouterConfig router = new(json.Float("top_p_threshold"));
        AttentionConfig attention = LlamaKeys.Attention(json, kvHeads: json.Int("num_attention_heads"), RopeTheta);
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, layer => layer % frequency == 0
            ? new MoeConfig(router, [new FfnExpertsConfig(experts, width)])
            : new DenseConfig(width));
    }

    public override JsonObject Write(ModelConfig config)
    {
        if (config.Attention is not { RopeTheta: RopeTheta } attention || attention.KvHeads != attention.Heads)
            throw new ArgumentException("dynamic-moe checkpoints have multi-head attention with rotary base 10000");
        JsonObject json = LlamaKeys.Write(config, Architecture, "llama");
        json["num_experts"] = LlamaKeys.Single<int>(config, "number of experts", static l => l is MoeConfig m ? [m.NumExperts] : []);
        json["top_p_threshold"] = LlamaKeys.Single<float>(config, "top_p", static l => l is MoeConfig { Router: TopPRouterConfig r } ? [r.TopP] : []);
        json["intermediate_size"] = LlamaKeys.Single<int>(config, "width",
            static l => l is MoeConfig m ? m.Banks.OfType<FfnExpertsConfig>().Select(static b => b.IntermediateSize) : [((DenseConfig)l).IntermediateSize]);
        json["expert_frequency"] = Frequency(config);
        return json;
    }

    public override string NameInFile(string path)
    {
        path = Rename(path, (".input_layernorm.", ".input_norm."), (".post_attention_layernorm.", ".post_attention_norm."), (".mlp.gate.", ".mlp.router."));
        return path.Contains(".mlp.experts.", StringComparison.Ordinal) ? path
            : Rename(path, (".mlp.gate_proj.", ".mlp.mlp.gate_proj."), (".mlp.up_proj.", ".mlp.mlp.up_proj."), (".mlp.down_proj.", ".mlp.mlp.down_proj."));
    }

    /// <summary>The reference stores its rotary frequencies.</summary>
    public override bool Ignores(string nameInFile) => nameInFile.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);

    public override IEnumerable<(string NameInFile, float[] Values)> Buffers(ModelConfig config) =>
        config.Layers.Select((_, i) => ($"model.layers.{i}.self_attn.rotary_emb.inv_freq", config.Attention.RopeFrequencies()));

    private static int Frequency(ModelConfig config)
    {
        int second = config.Layers.Skip(1).TakeWhile(static l => l is DenseConfig).Count() + 1;
        bool regular = config.Layers.Index().All(l => l.Item is MoeConfig == (l.Index % second == 0));
        return regular ? second : throw new ArgumentException("dynamic-moe checkpoints have experts in every n-th layer, the first included");
    }
}
