using System.Text.Json;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>
/// Experts of neurons that a file names, for each layer: the expert of every neuron, <c>[0, 2, 1, …]</c>, or the neurons of every
/// expert, <c>[[5, 43], [21, 26, 5], …]</c>, which may overlap, leave neurons out and differ in length.
/// </summary>
public sealed class GivenSplit : NeuronSplit
{
    private const int MaxBytes = 256 << 20;

    private readonly string _path;
    private readonly Layer[] _layers;

    private GivenSplit(string path, Layer[] layers, SplitRouter router) : base(router) => (_path, _layers) = (path, layers);

    /// <param name="Experts">The neurons of each, in their order.</param>
    /// <param name="Labels">How many neurons the file gave an expert; null where it gave experts neurons.</param>
    private sealed record Layer(int[][] Experts, int? Labels);

    public override string Name => "neurons";

    /// <exception cref="CheckpointException">Not such a file.</exception>
    public static GivenSplit Read(string path, SplitRouter router)
    {
        try
        {
            if (new FileInfo(path) is not { Exists: true, Length: <= MaxBytes })
                throw new CheckpointException(path, "is no file, or too large for a split");
            using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
            return new GivenSplit(path, [.. json.RootElement.EnumerateArray().Select(ReadLayer)], router);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new CheckpointException(path, "is not a JSON list with, for each layer, the expert of every neuron or the neurons of every expert", inner: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, e.Message, inner: e);
        }

        static Layer ReadLayer(JsonElement layer)
        {
            if (layer.EnumerateArray().Any(static e => e.ValueKind == JsonValueKind.Array))
                return new Layer([.. layer.EnumerateArray().Select(static list => list.EnumerateArray().Select(static n => n.GetInt32()).ToArray())], null);
            int[] labels = [.. layer.EnumerateArray().Select(static n => n.GetInt32())];
            return labels.Length == 0 || labels.Min() < 0 || labels.Max() >= labels.Length ? throw new FormatException()
                : new Layer(ByLabel(labels, labels.Max() + 1), labels.Length);
        }
    }

    protected override IReadOnlyList<int[]> Lists(DenseModel dense, int layer)
    {
        if (_layers.Length != dense.Config.Layers.Count)
            throw new CheckpointException(_path, $"splits {_layers.Length} layers, the model has {dense.Config.Layers.Count}");
        int width = dense.Width(layer);
        (int[][] experts, int? labels) = (_layers[layer].Experts, _layers[layer].Labels);
        if (labels is not null && labels != width)
            throw new CheckpointException(_path, $"gives {labels} neurons of layer {layer} an expert, there are {width}");
        foreach ((int e, int[] list) in experts.Index())
            if (list.Length == 0 || list.Distinct().Count() != list.Length || list.Min() < 0 || list.Max() >= width)
                throw new CheckpointException(_path, $"expert {e} of layer {layer} needs neurons from 0 to {width - 1}, at least one and none twice");
        return experts;
    }
}
