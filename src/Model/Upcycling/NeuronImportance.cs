using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>What each neuron matters for the loss on kinds of text.</summary>
/// <param name="Scores">
/// [layer][group][neuron] Σ |w · ∂L/∂w| over the windows of the group and the weights of the neuron: its rows of gate and up, its column
/// of down. To first order, what each weight's absence would do to the loss.
/// </param>
public sealed record NeuronImportance(double[][][] Scores)
{
    private const int Site = 13, Shortest = 8, Longest = 128, WindowsPerGroup = 16;

    /// <summary>Reads the dense model once more with gradients; groups are balanced k-means over the windows' mean output.</summary>
    /// <exception cref="ArgumentException">The text is too short.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static NeuronImportance Of(DenseModel dense, Sample sample, int groups, ulong seed, CancellationToken stop = default)
    {
        int length = Math.Min(Math.Clamp(sample.Ids.Length / (2 * groups), Shortest, Longest), dense.Config.MaxPositions);
        int windows = Math.Min(sample.Ids.Length / length, groups * WindowsPerGroup) / groups * groups;
        if (windows == 0)
            throw new ArgumentException($"the sample has {sample.Ids.Length} tokens, importance for {groups} experts needs at least {groups * length}: name a longer text with --sample-text");
        using LanguageModel model = LanguageModel.Load(dense.Folder, dense.Model.Backend, trainable: true);
        Dictionary<string, Tensor> parameters = model.Weights.All.ToDictionary(static p => p.Name!);
        int size = dense.Config.HiddenSize;
        float[] features = new float[windows * size];
        double[][][] ofWindow = new double[windows][][];
        using Tape g = Tape.Training(model.Backend);
        for (int w = 0; w < windows; w++)
        {
            stop.ThrowIfCancellationRequested();
            ReadOnlySpan<int> ids = sample.Ids.AsSpan(w * length, length);
            g.Reset();
            model.Weights.ZeroGrad();
            List<LayerOutput> layers = [];
            ForwardResult result = model.Transformer.Forward(g, Batch.Packed(g, ids, [length]), layers);
            Mean(model.Backend.ToFloats(result.FinalNorm), features.AsSpan(w * size, size));
            g.Backward(Loss.Of(g, result.Logits, Loss.NextTokens(ids, length), 1f / (length - 1), layers, []).Total);
            ofWindow[w] = [.. Enumerable.Range(0, dense.Config.Layers.Count).Select(layer => OfLayer(dense, parameters, layer))];
        }
        int[] group = BalancedKMeans.Of(features, size, groups, CounterRandom.At(seed, step: 0, layer: 0, Site)).Labels;
        return new NeuronImportance([.. Enumerable.Range(0, dense.Config.Layers.Count).Select(layer =>
            Enumerable.Range(0, groups).Select(e => Sum(ofWindow.Index().Where(w => group[w.Index] == e).Select(w => w.Item[layer]), dense.Width(layer))).ToArray())]);
    }

    private static double[] OfLayer(DenseModel dense, Dictionary<string, Tensor> parameters, int layer)
    {
        double[] scores = new double[dense.Width(layer)];
        foreach (string name in new[] { "gate_proj", "up_proj", "down_proj" })
        {
            Tensor p = parameters[dense.Mlp(layer, name)];
            float[] w = dense.Model.Backend.ToFloats(p), dw = dense.Model.Backend.ToFloats(p.Grad!);
            bool columns = name == "down_proj";
            for (int i = 0; i < w.Length; i++)
                scores[columns ? i % p.Cols : i / p.Cols] += Math.Abs((double)w[i] * dw[i]);
        }
        return scores;
    }

    private static void Mean(float[] rows, Span<float> mean)
    {
        for (int i = 0; i < rows.Length; i++)
            mean[i % mean.Length] += rows[i] * mean.Length / rows.Length;
    }

    private static double[] Sum(IEnumerable<double[]> all, int count)
    {
        double[] sum = new double[count];
        foreach (double[] one in all)
            for (int i = 0; i < count; i++)
                sum[i] += one[i];
        return sum;
    }
}
