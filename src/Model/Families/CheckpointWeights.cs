using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Families;

/// <summary>
/// Parameters from a checkpoint's files, by their family's names. Nothing is filled in silently: a missing tensor, another
/// shape or type, and at the end a tensor nobody asked for are errors.
/// </summary>
public sealed class CheckpointWeights(TensorFiles files, Family family, ConfigJson json) : IWeightSource
{
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);

    public Tensor Get(string path, Shape shape, Init init)
    {
        string name = family.NameInFile(path);
        if (!files.Contains(name))
            throw new CheckpointException(files.Path, "is missing", name);
        TensorEntry entry = files.Entry(name);
        if (!IsOf(entry, shape))
            throw new CheckpointException(files.FileOf(name), $"has shape [{string.Join(", ", entry.Shape)}], the config asks for {shape}", name);
        Tensor tensor = files.Get(name);
        if (!tensor.DType.IsWeight())
            throw new CheckpointException(files.FileOf(name), $"holds {tensor.DType}, a weight is F32, BF16 or F16", name);
        _used.Add(name);
        return tensor;
    }

    /// <summary>To be called once the model is built: whatever is left must be a known buffer or a copy of a tied matrix.</summary>
    /// <exception cref="CheckpointException">The checkpoint has a tensor that the model has not.</exception>
    public void RequireAllUsed(ModelConfig config)
    {
        foreach (string name in files.Names)
        {
            if (_used.Contains(name) || family.Ignores(name, json))
                continue;
            if (config.TieWordEmbeddings && name == "lm_head.weight")
                RequireTied(name, family.NameInFile("model.embed_tokens.weight"));
            else
                throw new CheckpointException(files.FileOf(name), $"is no part of {family.NameWithArticle} model with this config", name);
        }
    }

    private void RequireTied(string head, string embedding)
    {
        Tensor a = files.Get(head), b = files.Get(embedding);
        if (a.DType != b.DType || a.Shape != b.Shape || !a.Host<byte>().SequenceEqual(b.Host<byte>()))
            throw new CheckpointException(files.FileOf(head), $"differs from {embedding}, but the config ties the two", head);
    }

    private static bool IsOf(TensorEntry entry, Shape shape)
    {
        bool same = entry.Shape.Count == shape.Rank;
        for (int i = 0; same && i < shape.Rank; i++)
            same = entry.Shape[i] == shape[i];
        return same;
    }
}
