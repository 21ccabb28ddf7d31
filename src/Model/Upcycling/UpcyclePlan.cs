using System.Text.Json.Nodes;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>What to make of a dense model.</summary>
public sealed record UpcycleOptions(UpcycleMethod Method)
{
    /// <summary>Every how many layers there is a mixture, the last of each so many; the others stay dense.</summary>
    public int Every { get; init; } = 1;

    public IReadOnlyList<AddedExperts> Add { get; init; } = [];
    public RouterInit Router { get; init; } = new();

    /// <summary>Coefficient of the first loss that goes with the router; null for the usual one.</summary>
    public float? BalanceLoss { get; init; }

    /// <summary>Whose checkpoints to write; null for the first that can describe the model.</summary>
    public Family? Family { get; init; }

    public ulong Seed { get; init; }
}

/// <summary>A tensor to be written, and what from.</summary>
/// <param name="Name">In the file.</param>
/// <param name="Path">Ours.</param>
public sealed record UpcycledTensor(string Name, string Path, DType DType, Shape Shape, Origin Origin);

/// <summary>A whole upcycled model, as names and origins: nothing of it is in memory.</summary>
/// <param name="Json">Its config.json.</param>
/// <param name="Notes">What its maker should know: neurons that are lost, routers that cannot learn.</param>
public sealed record UpcyclePlan(Family Family, ModelConfig Config, JsonObject Json, IReadOnlyList<UpcycledTensor> Tensors, IReadOnlyList<string> Notes)
{
    /// <exception cref="ArgumentException">The model cannot be divided like this, or the family cannot describe the outcome.</exception>
    /// <exception cref="CheckpointException">A given file does not fit.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static UpcyclePlan Of(DenseModel dense, UpcycleOptions options, CancellationToken stop = default)
    {
        Dictionary<int, Division> divisions = [];
        List<FeedForwardConfig> layers = [.. dense.Config.Layers];
        for (int i = options.Every - 1; i < layers.Count; i += options.Every, stop.ThrowIfCancellationRequested())
            layers[i] = (divisions[i] = options.Method.Divide(dense, i, options.Add)).Mixture;
        if (divisions.Count == 0)
            throw new ArgumentException($"--every {options.Every} leaves no mixture in {layers.Count} layers");
        (Family family, ModelConfig config, JsonObject json) = Describe(dense.Config with { Layers = layers, RouterLosses = [] }, options);
        if (json.ContainsKey("torch_dtype"))
            json["torch_dtype"] = dense.Stored(dense.Mlp(0, "gate_proj")).DType switch
            {
                DType.BF16 => "bfloat16",
                DType.F16 => "float16",
                _ => "float32",
            };
        using TensorFiles? router = options.Router.File is { } file ? TensorFiles.Open(file) : null;
        Dictionary<string, Origin> taken = Taken(dense, divisions);
        List<UpcycledTensor> tensors = [.. Parameters.Of(config).Select(p => Plan(p, dense, family, options, divisions, taken, router))];
        tensors.AddRange(family.Buffers(config).Select(static b => new UpcycledTensor(b.NameInFile, b.NameInFile, DType.F32, [b.Values.Length], new Computed(b.Values))));
        return new UpcyclePlan(family, config, json, tensors, [.. Remarks(dense, divisions)]);
    }

    /// <summary>The family that the options name, or the first of the method's that has words for the model; moe_from_scratch has for all.</summary>
    private static (Family, ModelConfig, JsonObject) Describe(ModelConfig model, UpcycleOptions options)
    {
        IReadOnlyList<RouterLoss> losses = [.. options.Method.Losses(options.BalanceLoss).Where(static l => l.Coefficient != 0)];
        ModelConfig withLosses = model with { RouterLosses = losses };
        List<(Family, ModelConfig)> attempts = options.Family is { } named
            ? [(named, withLosses), .. options.BalanceLoss is null ? new[] { (named, model) } : []]     // some families leave losses to the training options
            : [.. options.Method.Families.Append(new FromScratch().Name).Select(name => (Family.All.First(f => f.Name == name), withLosses))];
        ArgumentException? refusal = null;
        foreach ((Family family, ModelConfig config) in attempts)
            try
            {
                return (family, config, family.Write(config));
            }
            catch (ArgumentException e)
            {
                refusal ??= e;
                if (family is FromScratch)
                    throw;
            }
        throw new ArgumentException($"--family {options.Family!.Name}: {refusal!.Message}", refusal);
    }

    /// <summary>The tensors that are cut out of dense networks, by their paths.</summary>
    private static Dictionary<string, Origin> Taken(DenseModel dense, Dictionary<int, Division> divisions)
    {
        Dictionary<string, Origin> taken = [];
        foreach ((int layer, Division division) in divisions)
            foreach (Network network in division.Networks)
            {
                Neurons? neurons = network.Neurons.All.SequenceEqual(Enumerable.Range(0, dense.Width(layer))) ? null : network.Neurons;
                string scope = FormattableString.Invariant($"model.layers.{layer}.mlp.{network.Scope}");
                taken.Add($"{scope}.gate_proj.weight", new FromDense(dense.Mlp(layer, "gate_proj"), neurons) { Times = network.Times.Gate });
                taken.Add($"{scope}.up_proj.weight", new FromDense(dense.Mlp(layer, "up_proj"), neurons) { Times = network.Times.Up });
                taken.Add($"{scope}.down_proj.weight", network.Silent ? new Drawn(Init.Zeros)
                    : new FromDense(dense.Mlp(layer, "down_proj"), neurons) { Columns = true, Times = network.Times.Down });
            }
        return taken;
    }

    private static UpcycledTensor Plan(
        Parameter p, DenseModel dense, Family family, UpcycleOptions options, Dictionary<int, Division> divisions, Dictionary<string, Origin> taken, TensorFiles? router)
    {
        string name = family.NameInFile(p.Path);
        (int layer, Division division) = divisions.FirstOrDefault(d => p.Path.StartsWith(FormattableString.Invariant($"model.layers.{d.Key}.mlp.gate."), StringComparison.Ordinal));
        Origin origin = division is not null ? options.Router.Of(name, p, division, router)
            : taken.TryGetValue(p.Path, out Origin? cut) ? cut
            : dense.Has(p.Path) ? new FromDense(p.Path)
            : new Drawn(p.Init);
        DType dtype = origin switch
        {
            FromDense from => dense.Stored(from.Path).DType,
            FromFile given => router!.Get(given.Name).DType,
            _ => dense.Stored(dense.Mlp(layer, "gate_proj")).DType,
        };
        if (origin is FromFile { Name: var key } && router!.Get(key).Shape is var shape && shape != p.Shape)
            throw new CheckpointException(options.Router.File!, $"has shape {shape}, the new model asks for {p.Shape}", key);
        return new UpcycledTensor(name, p.Path, dtype, p.Shape, origin);
    }

    private static IEnumerable<string> Remarks(DenseModel dense, Dictionary<int, Division> divisions)
    {
        List<(int Layer, int Lost)> lost = [.. divisions.Where(static d => d.Value.Networks.Count > 0)
            .Select(d => (d.Key, dense.Width(d.Key) - d.Value.Networks.Where(static n => !n.Silent).SelectMany(static n => n.Neurons.All).Distinct().Count())).Where(static l => l.Item2 > 0)];
        if (lost.Count > 0 && lost.MaxBy(static l => l.Lost) is var (layer, most))
            yield return $"in {lost.Count} of {divisions.Count} mixtures some dense neurons are in no expert, at most {most} of {dense.Width(layer)} (layer {layer})";
        if (divisions.Values.Any(static d => d.Mixture is { NumExperts: > 1, Router: { WeightsSumToOne: true } router } moe && router.MaxExperts(moe.NumExperts) == 1))
            yield return "with one expert per token and weights that sum to 1 the router has no gradient: it can be run, training refuses it";
    }
}
