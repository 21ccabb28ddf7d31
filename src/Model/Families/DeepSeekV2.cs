using System.Text.Json.Nodes;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// DeepSeek-V2 and V2-Lite (arXiv 2405.04434), by the config keys of DeepSeek's own code and of transformers: latent attention, and
/// softmax scores whose best, or the best of the best groups, are taken.
/// <para>
/// Where the two differ we do as DeepSeek's code. Weights: with norm_topk_prob, which none of their models sets, they are divided by
/// their sum instead of scaled by routed_scaling_factor; transformers never looks at it. YaRN's mscale_all_dim: scores grow by it, as
/// the models were trained; transformers forgets it here.
/// aux_loss_alpha: a balance within each sequence in DeepSeek's code, which adds its gradient and not its value, nothing in
/// transformers, and nothing here; training adds losses of its own choice.
/// </para>
/// </summary>
public sealed class DeepSeekV2 : Family
{
    private const string Method = "topk_method", Grouped = "group_limited_greedy", Biased = "noaux_tc";

    public override string Name => "deepseek-v2";
    public override string Architecture => "DeepseekV2ForCausalLM";

    public override bool Recognises(ConfigJson json) => json.ModelType == "deepseek_v2";

    public override ModelConfig Read(ConfigJson json)
    {
        if (json.Bool("mlp_bias", absent: false))
            throw json.Refused("mlp_bias is not supported for this family");
        json.Only(Method, null, "greedy", "gready", Grouped, Biased);    // the second in early configs
        json.Only("scoring_func", json.Is(Method, Biased) ? ["sigmoid"] : [null, "softmax"]);
        return DeepSeekKeys.Read(json, experts => Router(json, experts), interleaved: true, absentDense: 0, absentShared: 2);
    }

    private static GroupedTopKRouterConfig Router(ConfigJson json, int experts)
    {
        if (json.Is(Method, Biased))
            return DeepSeekKeys.BiasedRouter(json, experts);
        int topK = json.Int("num_experts_per_tok", max: experts);
        float scale = json.Float("routed_scaling_factor", absent: 1);
        bool renormalize = json.Bool("norm_topk_prob", absent: false) && topK > 1;
        GroupedTopKRouterConfig router = new(topK) { Renormalize = renormalize, Scale = renormalize ? 1 : scale };
        return json.Is(Method, Grouped) ? router with { Groups = json.Int("n_group"), TopGroups = json.Int("topk_group") } : router;
    }

    public override JsonObject Write(ModelConfig config)
    {
        JsonObject json = DeepSeekKeys.Write(config, Architecture, "deepseek_v2");
        json["scoring_func"] = "softmax";
        json[Method] = json["n_group"]!.GetValue<int>() == 1 ? "greedy" : Grouped;
        return LlamaKeys.Faithful(this, config, json);
    }

    public override string NameInFile(string path) => DeepSeekKeys.NameInFile(path);
}
