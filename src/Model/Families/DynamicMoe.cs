using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Dynamic-MoE (Huang et al., 2024, arXiv 2403.07652): Top-P routing with raw probabilities. Says "llama" in its model
/// type. Always multi-head over the whole width with rotary base 10000, whatever its keys for those say; every
/// expert_frequency-th layer, the first included, has experts and the others one SwiGLU of the same width.
/// </summary>
public sealed class DynamicMoe : Family
{
    private const float RopeTheta = 10_000;

    public override string Name => "dynamic-moe";
    public override string Architecture => "MoEForCausalLM";

    public override bool Recognises(ConfigJson json) => json.Has("top_p_threshold");

    public override ModelConfig Read(ConfigJson json)
    {
        int frequency = json.Int("expert_frequency", absent: 2);
        int experts = json.Int("num_experts", max: ConfigJson.MaxExperts);
        int width = json.Int("intermediate_size");
        TopPRouterConfig router = new(json.Float("top_p_threshold"));
        AttentionConfig attention = LlamaKeys.Attention(json, kvHeads: json.Int("num_attention_heads"), headDim: 0, RopeTheta);
        return LlamaKeys.Read(json, attention, absentEps: 1e-6f, layer => layer % frequency == 0
            ? new MoeConfig(router, [new FfnExpertsConfig(experts, width)])
            : new DenseConfig(width));
    }

    public override JsonObject Write(ModelConfig config)
    {
        AttentionConfig a = config.Attention;
        if (a is not { RopeTheta: RopeTheta, Window: 0 } || a.KvHeads != a.Heads || a.Heads * a.HeadDim != config.HiddenSize)
            throw new ArgumentException("dynamic-moe checkpoints have multi-head attention over the whole width, rotary base 10000, no window");
        if (config.Layers.Any(static l => l is MoeConfig and not { Router: TopPRouterConfig { MaxExpertsPerToken: 0, Renormalize: false }, Banks: [FfnExpertsConfig] }))
            throw new ArgumentException("dynamic-moe checkpoints have feed-forward experts behind a top-p router without a limit");
        if (config.RouterLosses.Count > 0)
            throw new ArgumentException("dynamic-moe checkpoints have no words for router losses: they belong to the training options");
        JsonObject json = LlamaKeys.Write(config, Architecture, "llama");
        MoeConfig first = config.Layers[0] as MoeConfig ?? throw new ArgumentException("a dynamic-moe checkpoint's first layer has experts");
        json["expert_frequency"] = Frequency(config);
        json["num_experts"] = LlamaKeys.Single(config, "number of experts", l => (l as MoeConfig ?? first).NumExperts);
        json["top_p_threshold"] = LlamaKeys.Single(config, "top_p", l => ((TopPRouterConfig)(l as MoeConfig ?? first).Router).TopP);
        json["intermediate_size"] = LlamaKeys.Single(config, "width",
            static l => l is MoeConfig m ? ((FfnExpertsConfig)m.Banks[0]).IntermediateSize : ((DenseConfig)l).IntermediateSize);
        return LlamaKeys.Faithful(this, config, json);
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
        config.Layers.Select((_, i) => ($"model.layers.{i}.self_attn.rotary_emb.inv_freq", config.Attention.RopeFrequencies(null)));

    private static int Frequency(ModelConfig config)
    {
        int second = config.Layers.Skip(1).TakeWhile(static l => l is DenseConfig).Count() + 1;
        bool regular = config.Layers.Index().All(l => l.Item is MoeConfig == (l.Index % second == 0));
        return regular ? second : throw new ArgumentException("dynamic-moe checkpoints have experts in every n-th layer, the first included");
    }
}
