using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Training;

/// <summary>
/// A preset of one's own, from a JSON object: the keys are those that <see cref="Read"/> asks for, and no others. The model is
/// what the object at <c>model</c> says, in the words of a <c>moe_from_scratch</c> config.json less its vocabulary; or, in short,
/// a Dynamic-MoE with <c>top_p</c> or a Mixtral with <c>top_k</c>. A router loss whose coefficient is 0, the default, is not computed.
/// </summary>
public static class TrainConfig
{
    /// <exception cref="CheckpointException">Not such an object; the message names the file and the key.</exception>
    public static Preset Read(string path)
    {
        ConfigJson json = ConfigJson.Read(path);
        int context = json.Int("context");
        ModelConfig? own = json.Object("model") is { } model ? Own(model, context) : null;
        Preset preset = new(
            Path.GetFileNameWithoutExtension(path), $"read from {path}", own is not null ? new FromScratch() : json.Has("top_k") ? new Mixtral() : new DynamicMoe(),
            own is not null ? vocabSize => own with { VocabSize = vocabSize } : Model(json, context),
            Training(json, context, own?.RouterLosses ?? Losses(json)));
        json.RequireAllAsked();
        return preset;
    }

    /// <summary>A model in full, but for what the text and the run decide.</summary>
    private static ModelConfig Own(ConfigJson json, int context)
    {
        if (json.Names("vocab_size"))
            throw json.Refused("vocab_size is the tokenizer's: leave it out");
        return FromScratch.Model(json, vocabSize: 1, absentPositions: context);
    }

    private static Func<int, ModelConfig> Model(ConfigJson json, int context)
    {
        int layers = json.Int("layers", max: ConfigJson.MaxLayers), hidden = json.Int("hidden_size"), heads = json.Int("heads");
        if (hidden % (2L * heads) != 0)
            throw json.Refused($"hidden_size {hidden} must be a multiple of twice the {heads} heads");
        int experts = json.Int("experts", max: ConfigJson.MaxExperts);
        if (json.Has("top_k") == json.Has("top_p"))
            throw json.Refused("exactly one of top_p and top_k must be there");
        RouterConfig router = json.Has("top_k") ? new TopKRouterConfig(json.Int("top_k", max: experts)) : new TopPRouterConfig(json.Float("top_p"));
        MoeConfig moe = new(router, [new FfnExpertsConfig(experts, json.Int("intermediate_size"))]);
        return vocabSize => new ModelConfig
        {
            VocabSize = vocabSize,
            HiddenSize = hidden,
            Attention = new AttentionConfig { Heads = heads, KvHeads = heads, HeadDim = hidden / heads },
            Layers = [.. Enumerable.Repeat(moe, layers)],
            MaxPositions = context,
            RmsNormEps = 1e-6f,
        };
    }

    private static IReadOnlyList<RouterLoss> Losses(ConfigJson json) =>
    [
        new LoadBalanceLoss(json.Float("load_balance", absent: 0)), new RouterEntropyLoss(json.Float("router_entropy", absent: 0)),
        new RouterZLoss(json.Float("router_z", absent: 0)),
    ];

    private static TrainOptions Training(ConfigJson json, int context, IReadOnlyList<RouterLoss> losses)
    {
        int steps = json.Int("steps", max: int.MaxValue);
        AdamWOptions adamW = new();
        return new TrainOptions
        {
            Steps = steps,
            BatchSize = json.Int("batch_size"),
            Context = context,
            LearningRate = new LrSchedule(LrDecay.Cosine, json.Float("learning_rate", aboveMin: true), json.Int("warmup_steps", min: 0, absent: 0),
                steps, json.Float("final_learning_rate", absent: 0)),
            AdamW = adamW with
            {
                Beta1 = Share("beta1", adamW.Beta1),
                Beta2 = Share("beta2", adamW.Beta2),
                WeightDecay = json.Float("weight_decay", absent: adamW.WeightDecay),
            },
            ClipNorm = json.Float("clip_norm", absent: 1),
            RouterLosses = [.. losses.Where(static l => l.Coefficient != 0)],
            BiasUpdateRate = json.Float("bias_update_rate", absent: 0),
            EstimateChoice = json.Bool("estimate_choice", absent: false),
        };

        double Share(string key, double absent) => !json.Has(key) ? absent
            : json.Float(key) is < 1 and var value ? value : throw json.Refused($"{key} must lie below 1");
    }
}
