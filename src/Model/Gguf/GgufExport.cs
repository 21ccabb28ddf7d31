using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Gguf;

/// <summary>Writes a model as one GGUF file.</summary>
public static class GgufExport
{
    // general.file_type, by the type of most tensors. Nothing is converted to the last two, which are copied from another GGUF file.
    private static readonly Dictionary<DType, uint> FileTypes = new()
    {
        [DType.F32] = 0,
        [DType.F16] = 1,
        [DType.Q4_0] = 2,
        [DType.Q8_0] = 7,
        [DType.BF16] = 32,
        [DType.Q4_K] = 15,
        [DType.Q6_K] = 18,
    };

    /// <summary>Writes one file, in place of whatever is at <paramref name="path"/>, one tensor at a time.</summary>
    /// <param name="dtype">
    /// F32, F16, BF16, Q8_0 or Q4_0, of the matrices; vectors, routers and what decides about a shared expert are F32, and a matrix whose
    /// rows are no whole blocks is F16. Null for the types that the model has, where those are types that can be written.
    /// </param>
    /// <param name="tokenizer">Whether to embed the tokenizer, if there is one.</param>
    /// <param name="wrap">Sees the tensors before they are written, and may wrap how they are.</param>
    /// <returns>What is otherwise than asked for, a line each.</returns>
    /// <exception cref="ArgumentException">The format has no words for the model or its tokenizer.</exception>
    /// <exception cref="IOException">The file cannot be written; what was there is still there.</exception>
    public static IReadOnlyList<string> Write(LanguageModel model, string path, DType? dtype = null, bool tokenizer = true,
        Func<IReadOnlyList<PlannedTensor>, IReadOnlyList<PlannedTensor>>? wrap = null)
    {
        if (dtype is { } type && !TensorConversion.Targets.Contains(type))
            throw new ArgumentException($"matrices are written as {string.Join(", ", TensorConversion.Targets)}, not as {type}");
        GgufArchitecture a = GgufArchitecture.Of(model.Family);
        ModelConfig c = model.Config;
        List<string> notes = [];
        GgufMetadataBuilder metadata = new();
        float[]? divisors = GgufConfig.Write(c, a, metadata);
        List<PlannedTensor> tensors = Plan(model, a, dtype, notes);
        if (divisors is not null)
            tensors.Insert(0, PlannedTensor.Of(GgufNames.RopeFactors, Host(divisors)));

        IGrouping<DType, PlannedTensor> most = tensors.GroupBy(static t => t.DType).MaxBy(static g => g.Sum(static t => t.Shape.Count))!;
        metadata.Add("general.file_type", FileTypes[most.Key]);
        if (most.Key.IsQuantised())
            metadata.Add("general.quantization_version", 2u);
        IReadOnlyList<int> eos = model.Generation.EosTokenIds is { Count: > 0 } theirs ? theirs : c.EosTokenIds;
        int? bos = GgufTokenizer.Write(metadata, tokenizer ? model.Tokenizer : null, c.VocabSize, eos) ?? c.BosTokenId;
        if (GgufConfig.WriteEnds(metadata, bos, eos) is { Count: > 0 } more)
            notes.Add($"of {eos.Count} ids that end a text, the format has no key for {string.Join(", ", more)}");
        GgufConfig.RequireFaithful(c, a, metadata.Read(path),
            new GgufConfig.Tensors(c.VocabSize, name => tensors.Any(t => t.Name == name), divisors, most.Key.ToString()));
        if (model.ChatTemplate is { } template && tokenizer)
            metadata.Add(GgufTokenizer.Template, template);
        GgufWriter.Write(path, metadata, wrap?.Invoke(tensors) ?? tensors);
        return notes;
    }

    /// <summary>A tensor for each parameter, the experts of a layer in one.</summary>
    private static List<PlannedTensor> Plan(LanguageModel model, GgufArchitecture a, DType? dtype, List<string> notes)
    {
        List<(string Name, List<Tensor> Parts)> stacks = [];
        Dictionary<string, List<Tensor>> byName = [];
        foreach (Tensor p in model.Weights.All)
        {
            (string name, int? expert) = GgufNames.Theirs(p.Name!) ?? throw new ArgumentException($"GGUF files have no name for {p.Name}");
            if (!byName.TryGetValue(name, out List<Tensor>? parts))
            {
                byName.Add(name, parts = []);
                stacks.Add((name, parts));
            }
            if (parts.Count != (expert ?? 0))
                throw new InvalidOperationException($"{p.Name} is not part {parts.Count} of {name}");
            parts.Add(p);
        }
        if (model.Config.TieWordEmbeddings && !a.MayTie)
            stacks.Add((GgufNames.Output, byName[GgufNames.Embedding]));
        return [.. stacks.Select(stack => Tensor(model, a, stack.Name, stack.Parts, dtype, notes))];
    }

    private static PlannedTensor Tensor(LanguageModel model, GgufArchitecture a, string name, List<Tensor> parts, DType? dtype, List<string> notes)
    {
        Shape one = parts[0].Shape;
        bool stacked = name.EndsWith("_exps.weight", StringComparison.Ordinal);
        bool narrow = one.Rank == 1 || one[0] == 1 || name.EndsWith("ffn_gate_inp.weight", StringComparison.Ordinal);
        DType stored = model.Weights.StoredType(parts[0]);
        DType type = narrow ? DType.F32 : dtype ?? (FileTypes.ContainsKey(stored) ? stored : DType.F32);
        if (!narrow && one.Cols % type.BlockLength() != 0)
        {
            notes.Add($"{name} stays F16: its rows of {one.Cols} are no whole blocks of {type.BlockLength()}");
            type = DType.F16;
        }
        Shape shape = stacked ? [parts.Count, one[0], one[1]] : one.Rank == 2 && one[0] == 1 ? [one[1]] : one;
        bool turns = a.TurnsNeighbours && (name.Contains(".attn_q.", StringComparison.Ordinal) || name.Contains(".attn_k.", StringComparison.Ordinal));
        return new PlannedTensor(name, type, shape, stream =>
        {
            foreach (Tensor part in parts)
            {
                Tensor x = model.Weights.OnHost(part);
                TensorConversion.Write(stream, turns ? GgufRows.ToNeighbours(x, model.Config.Attention.HeadDim) : x, type);
            }
        });
    }

    private static Tensor Host(float[] values)
    {
        Tensor host = new([values.Length], DType.F32, new NativeStorage(values.Length * sizeof(float)));
        values.CopyTo(host.Floats);
        return host;
    }
}
