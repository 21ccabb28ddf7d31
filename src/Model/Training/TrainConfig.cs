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
/// a Dynamic-MoE with <c>top_p</c>, a Mixtral with <c>top_k</c>, or a dense Llama without <c>experts</c>. A router loss whose
/// coefficient is 0, the default, is not computed.
/// </summary>
public static class TrainConfig
{
    /// <exception cref="CheckpointException">Not such an object; the message names the file and the key.</exception>
    public static Preset Read(string path)
    {
        ConfigJson json = ConfigJson.Read(path);
        int context = json.Int("context");
        ModelConfig? own = json.Object("model") is { } model ? Own(model, context) : null;
        Func<int, ModelConfig> shape = own is null ? Model(json, context) : vocabSize => own with { VocabSize = vocabSize };
        IReadOnlyList<FeedForwardConfig> layers = shape(1).Layers;
        TrainOptions training = Training(json, context, own?.RouterLosses ?? Losses(json));
        if (training.RouterLosses.Count > 0 && layers.All(static l => l is DenseConfig))
            throw json.Refused($"{training.RouterLosses[0].Name} is about routers, and the model is dense");
        if (training.EstimateChoice && !layers.Any(static l => l is MoeConfig { Router: DcMoeRouterConfig }))
            throw json.Refused("estimate_choice is for DCMoE's routers, and the model has none");
        Family family = own is not null ? FamilyOf(own) : json.Has("top_k") ? new Mixtral() : json.Has("top_p") ? new DynamicMoe() : new Llama();
        Preset preset = new(Path.GetFileNameWithoutExtension(path), $"read from {path}", family, shape, training);
        json.RequireAllAsked();
        return preset;
    }

    /// <summary>Whose checkpoints a model in full is saved as: a dense one as what other programs read, where that has words for it; others as ours.</summary>
    private static Family FamilyOf(ModelConfig model) =>
        ((Family[])[new Llama(), new Qwen2()]).FirstOrDefault(family => family.CanSay(model)) ?? new FromScratch();

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
        FeedForwardConfig layer = json.Has("experts") || json.Has("top_p") || json.Has("top_k") ? Mixture(json) : new DenseConfig(json.Int("intermediate_size"));
        return vocabSize => new ModelConfig
        {
            VocabSize = vocabSize,
            HiddenSize = hidden,
            Attention = new AttentionConfig { Heads = heads, KvHeads = heads, HeadDim = hidden / heads },
            Layers = [.. Enumerable.Repeat(layer, layers)],
            MaxPositions = context,
            RmsNormEps = 1e-6f,
        };
    }

    private static MoeConfig Mixture(ConfigJson json)
    {
        int experts = json.Int("experts", max: ConfigJson.MaxExperts);
        if (json.Has("top_k") == json.Has("top_p"))
            throw json.Refused("exactly one of top_p and top_k must be there");
        RouterConfig router = json.Has("top_k") ? new TopKRouterConfig(json.Int("top_k", max: experts)) : new TopPRouterConfig(json.Float("top_p"));
        return new MoeConfig(router, [new FfnExpertsConfig(experts, json.Int("intermediate_size"))]);
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
