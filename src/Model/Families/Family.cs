using System.Text.Json.Nodes;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Maps the config keys and tensor names of one kind of checkpoint onto ours and back. Differences between families are
/// data; the model code is one.
/// </summary>
public abstract class Family
{
    /// <summary>"mixtral": what messages call it.</summary>
    public abstract string Name { get; }

    /// <summary>"a mixtral", "an olmoe".</summary>
    public string NameWithArticle => English.A(Name);

    /// <summary>The class in <c>architectures[0]</c>.</summary>
    public abstract string Architecture { get; }

    /// <summary>Whether a config without a known architecture is of this family.</summary>
    public abstract bool Recognises(ConfigJson json);

    /// <summary>The model a config describes.</summary>
    /// <exception cref="CheckpointException">A key is missing, out of range, or asks for what is not supported.</exception>
    public abstract ModelConfig Read(ConfigJson json);

    /// <summary>A config.json that the family's reference implementation reads.</summary>
    public abstract JsonObject Write(ModelConfig config);

    /// <summary>Whether <see cref="Write"/> has words for all of a model.</summary>
    public bool CanSay(ModelConfig config)
    {
        try
        {
            Write(config);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    /// <summary>The name in the file of a parameter with our path.</summary>
    public abstract string NameInFile(string path);

    /// <summary>Whether a tensor of the file is a buffer that the model computes itself.</summary>
    public virtual bool Ignores(string nameInFile) => false;

    /// <summary>The same where it takes the config to tell: parts of a checkpoint that are not run.</summary>
    public virtual bool Ignores(string nameInFile, ConfigJson json) => Ignores(nameInFile);

    /// <summary>The buffers that the reference implementation expects beside the parameters.</summary>
    public virtual IEnumerable<(string NameInFile, float[] Values)> Buffers(ModelConfig config) => [];

    /// <summary>All families, in the order they are asked.</summary>
    public static IReadOnlyList<Family> All { get; } =
    [
        new DynamicMoe(), new Mixtral(), new Llama(), new Qwen2(), new MoePlusPlus(), new UniMoe2(),
        new Olmoe(), new Qwen2Moe(), new Qwen3Moe(), new GraniteMoe(), new PhiMoe(), new LlamaMoe(), new OpenMoe(), new GptOss(),
        new DeepSeekV3(), new DeepSeekV2(), new FromScratch(),
    ];

    /// <summary>By architecture first, then by model type and telling keys: some families share their model type.</summary>
    /// <exception cref="CheckpointException">No family fits; the message lists those there are.</exception>
    public static Family Recognise(ConfigJson json) =>
        All.FirstOrDefault(f => f.Architecture == json.Architecture)
        ?? All.FirstOrDefault(f => json.Architecture is null && f.Recognises(json))
        ?? throw new CheckpointException(json.Path,
            $"architecture {json.Architecture ?? "(none)"} with model type {json.ModelType ?? "(none)"} is not supported; "
            + $"supported are {string.Join(", ", All.Select(static f => f.Architecture))}");

    /// <summary>Replaces each part of a path that has another name in the file.</summary>
    protected static string Rename(string path, params ReadOnlySpan<(string Ours, string Theirs)> parts)
    {
        foreach ((string ours, string theirs) in parts)
            path = path.Replace(ours, theirs, StringComparison.Ordinal);
        return path;
    }
}
