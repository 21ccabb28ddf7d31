using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Families;

/// <summary>Which layers have windows, by the config keys of transformers: layer_types and sliding_window.</summary>
internal static class WindowKeys
{
    private const string LayerTypes = "layer_types", Sliding = "sliding_attention", Full = "full_attention";

    /// <summary>The model with its windows.</summary>
    /// <param name="slides">Whether layer i has one where layer_types is absent.</param>
    public static ModelConfig Read(ConfigJson json, ModelConfig model, Func<int, bool> slides)
    {
        IReadOnlyList<string>? types = json.Strings(LayerTypes, model.Layers.Count, Sliding, Full);
        List<int> full = [.. Enumerable.Range(0, model.Layers.Count).Where(i => types is null ? !slides(i) : types[i] == Full)];
        return full.Count == model.Layers.Count ? model : model with
        {
            Attention = model.Attention with { Window = json.Int("sliding_window") },
            FullAttentionLayers = full,
        };
    }

    /// <summary>
    /// Qwen's: nothing slides without use_sliding_window. With it, but without layer_types, releases of transformers disagree about
    /// max_window_layers: in Qwen2 the layers from there on slide, and in releases before layer_types, with eager attention, all do;
    /// in Qwen2-MoE every other layer before it slides, formerly those from there on or all; in Qwen3-MoE all do, whatever it is
    /// (early flash attention aside). What has more than one meaning is refused.
    /// </summary>
    /// <param name="everyLayer">Without layer_types, this config means every layer by any reading.</param>
    public static ModelConfig ReadQwen(ConfigJson json, ModelConfig model, bool everyLayer)
    {
        if (!json.Bool("use_sliding_window", absent: false))
            return Read(json, model, static _ => false).Attention.Window == 0
                ? model
                : throw json.Refused("layer_types names layers with a window, but use_sliding_window is false");
        return everyLayer || json.Has(LayerTypes)
            ? Read(json, model, static _ => true)
            : throw json.Refused("use_sliding_window without layer_types is ambiguous, and not supported");
    }

    public static void Write(ModelConfig model, JsonObject json)
    {
        json[LayerTypes] = new JsonArray([.. model.Layers.Select((_, i) => (JsonNode)(model.WindowOf(i) > 0 ? Sliding : Full))]);
        json["sliding_window"] = model.Attention.Window == 0 ? null : model.Attention.Window;
    }

    public static void WriteQwen(ModelConfig model, JsonObject json)
    {
        json["use_sliding_window"] = model.Attention.Window > 0;
        if (model.Attention.Window > 0)
            Write(model, json);
    }
}
