using System.Text.Json;
using System.Text.Json.Serialization;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Experts;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;

namespace MoeFromScratch.Model.Training;

/// <summary>
/// A preset of one's own, as a JSON object with these properties as its snake_case keys: exactly one of <c>top_p</c> (a
/// Dynamic-MoE) and <c>top_k</c> (a Mixtral), every key without a default, and none that is not listed here.
/// </summary>
public sealed record TrainConfig
{
    private static readonly JsonSerializerOptions Strict = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        AllowDuplicateProperties = false,
    };

    public required int Layers { get; init; }
    public required int HiddenSize { get; init; }
    public required int Heads { get; init; }
    public required int Experts { get; init; }

    /// <summary>Width of one expert.</summary>
    public required int IntermediateSize { get; init; }

    public float? TopP { get; init; }
    public int? TopK { get; init; }

    public required int Context { get; init; }
    public required int BatchSize { get; init; }
    public required int Steps { get; init; }
    public required float LearningRate { get; init; }

    /// <summary>Where the cosine ends.</summary>
    public float FinalLearningRate { get; init; }

    public int WarmupSteps { get; init; }
    public double Beta1 { get; init; } = 0.9;
    public double Beta2 { get; init; } = 0.95;
    public float WeightDecay { get; init; } = 0.1f;
    public float ClipNorm { get; init; } = 1;

    /// <summary>Coefficients of the router losses; a loss whose coefficient is 0 is not computed.</summary>
    public float LoadBalance { get; init; }

    public float RouterEntropy { get; init; }
    public float RouterZ { get; init; }

    /// <exception cref="ArgumentException">Not such an object; the message names the file and the key.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static Preset Read(string path)
    {
        try
        {
            TrainConfig config = JsonSerializer.Deserialize<TrainConfig>(File.ReadAllText(path), Strict)
                ?? throw new ArgumentException("there is no object in it");
            config.Check();
            return config.ToPreset(Path.GetFileNameWithoutExtension(path));
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            throw new ArgumentException($"{path}: {Explain(e)}", e);
        }
    }

    private Preset ToPreset(string name)
    {
        RouterConfig router = TopK is { } k ? new TopKRouterConfig(k) : new TopPRouterConfig(TopP!.Value);
        RouterLoss[] losses = [new LoadBalanceLoss(LoadBalance), new RouterEntropyLoss(RouterEntropy), new RouterZLoss(RouterZ)];
        return new Preset(
            name,
            "read from a file",
            TopK is null ? new DynamicMoe() : new Mixtral(),
            vocabSize => new ModelConfig
            {
                VocabSize = vocabSize,
                HiddenSize = HiddenSize,
                Attention = new AttentionConfig { Heads = Heads, KvHeads = Heads, HeadDim = HiddenSize / Heads },
                Layers = [.. Enumerable.Repeat(new MoeConfig(router, [new FfnExpertsConfig(Experts, IntermediateSize)]), Layers)],
                MaxPositions = Context,
                RmsNormEps = 1e-6f,
            },
            new TrainOptions
            {
                Steps = Steps,
                BatchSize = BatchSize,
                Context = Context,
                LearningRate = new LrSchedule(LrDecay.Cosine, LearningRate, WarmupSteps, Steps, FinalLearningRate),
                AdamW = new AdamWOptions { Beta1 = Beta1, Beta2 = Beta2, WeightDecay = WeightDecay },
                ClipNorm = ClipNorm,
                RouterLosses = [.. losses.Where(static l => l.Coefficient > 0)],
            });
    }

    private void Check()
    {
        Above("layers", Layers, ConfigJson.MaxLayers);
        Above("hidden_size", HiddenSize, ConfigJson.MaxDimension);
        Above("heads", Heads, ConfigJson.MaxDimension);
        Above("experts", Experts, ConfigJson.MaxExperts);
        Above("intermediate_size", IntermediateSize, ConfigJson.MaxDimension);
        Above("context", Context, ConfigJson.MaxDimension);
        Above("batch_size", BatchSize, ConfigJson.MaxDimension);
        Above("steps", Steps, int.MaxValue);
        Above("learning_rate", LearningRate, float.MaxValue);
        foreach ((string key, double value) in new[]
        {
            ("final_learning_rate", FinalLearningRate), ("warmup_steps", WarmupSteps), ("weight_decay", WeightDecay), ("clip_norm", ClipNorm),
            ("load_balance", LoadBalance), ("router_entropy", RouterEntropy), ("router_z", RouterZ), ("top_p", TopP ?? 0),
        })
            if (!(value >= 0))
                throw new ArgumentException($"{key} must be at least 0, not {value}");
        if (!(Beta1 is >= 0 and < 1 && Beta2 is >= 0 and < 1))
            throw new ArgumentException("beta1 and beta2 must lie in [0, 1)");
        if (TopK is null == TopP is null)
            throw new ArgumentException("exactly one of top_p and top_k must be there");
        if (TopK is { } k && (k < 1 || k > Experts))
            throw new ArgumentException($"top_k must lie between 1 and the {Experts} experts, not be {k}");
        if (HiddenSize % (2 * (long)Heads) != 0)
            throw new ArgumentException($"hidden_size {HiddenSize} must be a multiple of twice the {Heads} heads");

        static void Above(string key, double value, double most)
        {
            if (!(value > 0 && value <= most))
                throw new ArgumentException($"{key} must be above 0 and at most {most}, not {value}");
        }
    }

    /// <summary>The library's message in the words of a reader who does not know the class behind the file.</summary>
    private static string Explain(Exception e)
    {
        string text = e.Message;
        int type = text.IndexOf("type '", StringComparison.Ordinal);
        if (text.Contains("could not be mapped", StringComparison.Ordinal) && e is JsonException { Path: { } key })
            return $"unknown key {key[(key.LastIndexOf('.') + 1)..]}";
        return type < 0 ? text : text.Replace(typeof(TrainConfig).FullName!, "a training config", StringComparison.Ordinal);
    }
}
