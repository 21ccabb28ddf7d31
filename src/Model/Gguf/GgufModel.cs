using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Gguf;

/// <summary>
/// A GGUF file as a checkpoint: a config.json that says what its metadata say, its tensors by our paths, its tokenizer. Weights stay
/// mapped as they lie, quantised ones too, but for the queries and keys of architectures that store their rows in another order.
/// </summary>
internal sealed class GgufModel : IWeightSource, IDisposable
{
    public const string Extension = ".gguf";

    private const string Parts = "split.count";

    private readonly GgufFile _file;
    private readonly GgufArchitecture _architecture;
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);
    private AttentionConfig? _attention;

    private GgufModel(GgufFile file)
    {
        _file = file;
        if (file.Metadata.Integer(Parts, absent: 1) is > 1 and var parts)
            throw new CheckpointException(file.Path, $"is one of {parts} parts of a model; join them with llama.cpp's llama-gguf-split --merge");
        _architecture = GgufArchitecture.Of(file.Metadata);
        TensorEntry embedding = file.Contains(GgufNames.Embedding)
            ? file.Entry(GgufNames.Embedding) : throw new CheckpointException(file.Path, "is missing", GgufNames.Embedding);
        if (embedding.Shape is not [var vocab, _] || vocab is < 1 or > ConfigJson.MaxDimension)
            throw new CheckpointException(file.Path, $"has shape [{string.Join(", ", embedding.Shape)}], which is no embedding's", embedding.Name);
        Json = GgufConfig.Read(file.Metadata, _architecture, new GgufConfig.Tensors((int)vocab, file.Contains, RopeFactors(), embedding.DType));
    }

    /// <exception cref="CheckpointException">The file breaks a rule of its format, or is of no kind that is supported.</exception>
    public static GgufModel Open(string path)
    {
        GgufFile file = GgufFile.Open(path);
        try
        {
            return new GgufModel(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public Family Family => _architecture.Family;

    /// <summary>The config.json of a folder with this model.</summary>
    public ConfigJson Json { get; }

    public GgufMetadata Metadata => _file.Metadata;

    /// <summary>The names of all tensors.</summary>
    public IEnumerable<string> Names => _file.Entries.Select(static e => e.Name);

    /// <summary>The model; to be asked for before any of its weights.</summary>
    public ModelConfig ReadConfig()
    {
        ModelConfig config = Family.Read(Json);
        _attention = config.Attention;
        return config;
    }

    public Tensor Get(string path, Shape shape, Init init)
    {
        (string name, int? expert) = GgufNames.Theirs(path) ?? throw new CheckpointException(_file.Path, $"GGUF files have no name for {path}");
        if (!_file.Contains(name))
            throw new CheckpointException(_file.Path, "is missing", name);
        TensorEntry entry = _file.Entry(name);
        IEnumerable<long> wanted = Dimensions(shape), found = entry.Shape;
        if (expert is { } e)
        {
            if (entry.Shape.Count != shape.Rank + 1 || e >= entry.Shape[0])
                throw new CheckpointException(_file.Path, $"has shape [{string.Join(", ", entry.Shape)}], which has no expert {e}", name);
            found = entry.Shape.Skip(1);
        }
        else if (shape.Rank == 2 && shape[0] == 1 && entry.Shape.Count == 1)
            wanted = wanted.Skip(1);   // one row is written as a vector
        if (!found.SequenceEqual(wanted))
            throw new CheckpointException(_file.Path, $"has shape [{string.Join(", ", entry.Shape)}], the metadata ask for {(expert is null ? "" : "experts of ")}{shape}", name);
        Tensor tensor = _file.Get(name).View(shape, (expert ?? 0) * shape.Count);
        if (!tensor.DType.IsWeight() && (!tensor.DType.IsQuantised() || shape.Rank == 1))
            throw new CheckpointException(_file.Path, $"holds {tensor.DType}, which is no type of {(shape.Rank == 1 ? "a vector" : "a weight")}", name);
        _used.Add(name);
        return Turns(path) ? GgufRows.ToHalves(tensor, _attention!.HeadDim) : tensor;
    }

    /// <summary>To be called once the model is built: whatever is left must have gone into its configuration.</summary>
    /// <exception cref="CheckpointException">The file has a tensor, or an expert, that the model has not.</exception>
    public void RequireAllUsed(ModelConfig config)
    {
        int experts = config.Layers[0] is MoeConfig moe ? moe.NumExperts : 0;
        foreach (TensorEntry entry in _file.Entries)
            if (!_used.Contains(entry.Name) && entry.Name != GgufNames.RopeFactors)
                throw new CheckpointException(_file.Path, $"is no part of {English.A(_architecture.Name)} model with these metadata", entry.Name);
            else if (entry.Shape.Count == 3 && entry.Shape[0] != experts)
                throw new CheckpointException(_file.Path, $"has {entry.Shape[0]} experts, the metadata say {experts}", entry.Name);
    }

    public void Dispose() => _file.Dispose();

    private bool Turns(string path) => _architecture.TurnsNeighbours
        && (path.Contains(".self_attn.q_proj.", StringComparison.Ordinal) || path.Contains(".self_attn.k_proj.", StringComparison.Ordinal));

    private float[]? RopeFactors()
    {
        if (!_file.Contains(GgufNames.RopeFactors))
            return null;
        Tensor factors = _file.Get(GgufNames.RopeFactors);
        return factors.DType == DType.F32 && factors.Shape.Rank == 1 && factors.Count <= ConfigJson.MaxDimension
            ? factors.Floats.ToArray()
            : throw new CheckpointException(_file.Path, $"must be one row of F32, not {factors.DType}{factors.Shape}", GgufNames.RopeFactors);
    }

    private static List<long> Dimensions(Shape shape)
    {
        List<long> dimensions = [];
        foreach (int d in shape)
            dimensions.Add(d);
        return dimensions;
    }
}
