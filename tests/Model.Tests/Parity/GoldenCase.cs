using System.Text.Json;
using System.Text.Json.Serialization;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Parity;

/// <summary>What the reference implementation computed for one of the golden models.</summary>
public sealed class GoldenCase
{
    public static IReadOnlyList<string> Names { get; } =
    [
        "dynamic-moe", "mixtral", "mixtral-bf16-sharded", "dense-llama", "dense-qwen2",
        "moe-plus-plus", "moe-plus-plus-mixtral-gating",
        "uni-moe-2", "uni-moe-2-drop", "uni-moe-2-drop-position", "uni-moe-2-topk",
        "olmoe", "qwen2-moe", "qwen3-moe", "qwen3-moe-tied", "granitemoe", "phimoe", "llama-moe", "openmoe", "gpt-oss",
        "deepseek-v3", "deepseek-v3-yarn",
    ];

    /// <summary>Those whose reference can be trained.</summary>
    public static IReadOnlyList<string> Trained { get; } = [.. Names.Where(static n => File.Exists(Path.Combine(Golden.Folder(n), "train.json")))];

    /// <summary>Those where what one token gets does not depend on how many others there are.</summary>
    public static IReadOnlyList<string> Dropless { get; } = [.. Names.Where(static n => n != "openmoe" && !n.Contains("drop", StringComparison.Ordinal))];

    public GoldenCase(string name)
    {
        Folder = Golden.Folder(name);
        Expected = Read(name, "expected.safetensors");
        Gradients = Read(name, "grads.safetensors");
        Greedy = Json<GreedyRun>("greedy.json");
        Training = Trained.Contains(name) ? Json<TrainingRun>("train.json") : null;
        HostTensor ids = Expected["input_ids"];
        Input = new TraceInput([.. ids.Integers!.Select(static id => (int)id)], ids.Shape[0]);
    }

    public string Folder { get; }
    public TraceInput Input { get; }
    public IReadOnlyDictionary<string, HostTensor> Expected { get; }
    public IReadOnlyDictionary<string, HostTensor> Gradients { get; }
    public GreedyRun Greedy { get; }

    /// <summary>Null for a case that is not among the trained ones.</summary>
    public TrainingRun? Training { get; }

    /// <summary>All tensors of one of a case's files.</summary>
    public static Dictionary<string, HostTensor> Read(string name, string file)
    {
        using SafetensorsFile tensors = SafetensorsFile.Open(Path.Combine(Golden.Folder(name), file));
        return tensors.Entries.ToDictionary(static e => e.Name, e => HostTensor.Of(tensors.Get(e.Name)));
    }

    private T Json<T>(string file) => JsonSerializer.Deserialize<T>(File.ReadAllText(Path.Combine(Folder, file)))!;
}

/// <summary>A tensor's values in managed memory.</summary>
public sealed record HostTensor(Shape Shape, float[]? Floats, long[]? Integers)
{
    public static HostTensor Of(Tensor x)
    {
        HostTensor copy = x.DType == DType.F32
            ? new HostTensor(x.Shape, x.Floats.ToArray(), null)
            : new HostTensor(x.Shape, null, x.Host<long>().ToArray());
        GC.KeepAlive(x);
        return copy;
    }
}

/// <summary>greedy.json</summary>
public sealed record GreedyRun(
    [property: JsonPropertyName("prompt")] int[] Prompt,
    [property: JsonPropertyName("generated")] int[] Generated,
    [property: JsonPropertyName("mode")] string Mode)
{
    /// <summary>Whether the reference computed the whole sequence again for every token.</summary>
    public bool NoCache => Mode.StartsWith("no KV cache", StringComparison.Ordinal);
}

/// <summary>train.json</summary>
public sealed record TrainingRun(
    [property: JsonPropertyName("steps")] int Steps,
    [property: JsonPropertyName("lr")] float LearningRate,
    [property: JsonPropertyName("betas")] float[] Betas,
    [property: JsonPropertyName("eps")] float Eps,
    [property: JsonPropertyName("weight_decay")] float WeightDecay,
    [property: JsonPropertyName("clip_grad_norm")] float ClipNorm,
    [property: JsonPropertyName("loss_float32")] float[] Losses,
    [property: JsonPropertyName("grad_norm_before_clip_float32")] float[] GradNorms)
{
    public AdamWOptions AdamW => new() { Beta1 = Betas[0], Beta2 = Betas[1], Eps = Eps, WeightDecay = WeightDecay };

    /// <summary>Takes the steps on a trainable model.</summary>
    public void Run(Trace trace, LanguageModel model, TraceInput input) =>
        Tracer.TrainSteps(trace, model, input, Steps, LearningRate, AdamW, ClipNorm);
}
