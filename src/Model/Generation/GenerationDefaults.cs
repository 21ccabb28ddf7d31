using MoeFromScratch.Model.Families;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Generation;

/// <summary>How a checkpoint's authors want it to be sampled: its generation_config.json. Null where the file is silent.</summary>
public sealed record GenerationDefaults
{
    public const string FileName = "generation_config.json";

    /// <summary>0 where the file says <c>do_sample: false</c>.</summary>
    public float? Temperature { get; init; }
    public int? TopK { get; init; }
    public float? TopP { get; init; }
    public float? MinP { get; init; }
    public float? RepetitionPenalty { get; init; }
    public int? MaxNewTokens { get; init; }

    /// <summary>Ends a text; empty where the file is silent and config.json decides.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>The folder's defaults; all null when it has no such file.</summary>
    /// <exception cref="CheckpointException">A value is not of its kind or out of its range.</exception>
    public static GenerationDefaults Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
            return new GenerationDefaults();
        ConfigJson json = ConfigJson.Read(path);
        GenerationDefaults defaults = new()
        {
            Temperature = json.Has("do_sample") && !json.Bool("do_sample", absent: true) ? 0 : Float("temperature"),
            TopK = json.Has("top_k") ? json.Int("top_k", min: 0) : null,
            TopP = Float("top_p"),
            MinP = Float("min_p"),
            RepetitionPenalty = Float("repetition_penalty"),
            MaxNewTokens = json.Has("max_new_tokens") ? json.Int("max_new_tokens", max: int.MaxValue) : null,
            EosTokenIds = json.TokenIds("eos_token_id"),
        };
        try
        {
            defaults.Sampler().RequireValid();
        }
        catch (ArgumentException e)
        {
            throw json.Refused(e.Message);
        }
        return defaults;

        float? Float(string key) => json.Has(key) ? json.Float(key) : null;
    }

    /// <summary>These defaults as sampler options, with <paramref name="seed"/> and what the file leaves open at no effect.</summary>
    public SamplerOptions Sampler(ulong seed = 0) =>
        new(Temperature ?? 1, seed, TopK ?? 0, TopP ?? 1, MinP ?? 0, RepetitionPenalty ?? 1);
}
