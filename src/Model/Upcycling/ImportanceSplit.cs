namespace MoeFromScratch.Model.Upcycling;

/// <summary>
/// Experts of the neurons that matter most for kinds of text: a text is cut into windows, these into as many groups of similar ones
/// as there are experts, and an expert takes the neurons that <see cref="NeuronImportance"/> finds for its group. Neurons may be in
/// several experts or in none (LLaMA-MoE's "inner"); those that matter most for all groups may be set apart for a network that always runs ("inter").
/// </summary>
/// <param name="sharedNeurons">How many are set apart.</param>
public sealed class ImportanceSplit(int experts, int sharedNeurons, ulong seed, SplitRouter router) : NeuronSplit(router)
{
    private NeuronImportance? _importance;

    public override string Name => "importance";

    public override void Prepare(DenseModel dense, Sample sample, CancellationToken stop = default)
    {
        if (!dense.Config.Layers.Index().Any(layer => Divides(dense.Width(layer.Index))))       // said now rather than after the gradients
            throw NotDivided(dense, layer: 0);
        _importance = NeuronImportance.Of(dense, sample, experts, seed, stop);
    }

    protected override int[] Always(DenseModel dense, int layer) => sharedNeurons == 0 ? [] : Most(Together(layer), sharedNeurons);

    protected override IReadOnlyList<int[]> Lists(DenseModel dense, int layer)
    {
        if (!Divides(dense.Width(layer)))
            throw NotDivided(dense, layer);
        int each = (dense.Width(layer) - sharedNeurons) / experts;
        int[] always = Always(dense, layer);
        return [.. Enumerable.Range(0, experts).Select(e =>
        {
            double[] own = [.. Scores(layer, e)];
            foreach (int neuron in always)
                own[neuron] = double.NegativeInfinity;
            return Most(own, each);
        })];
    }

    private bool Divides(int width) => width > sharedNeurons && (width - sharedNeurons) % experts == 0;

    private ArgumentException NotDivided(DenseModel dense, int layer) =>
        new($"--experts {experts} does not divide the {dense.Width(layer)} neurons of layer {layer}{(sharedNeurons > 0 ? $" less --shared-neurons {sharedNeurons}" : "")}");

    /// <summary>Neurons count by their importance: the experts share the same few that matter, and a scale for all neurons would be far too much.</summary>
    protected override double MeanCount(DenseModel dense, int layer, IReadOnlyList<int[]> lists, int neurons)
    {
        double[] together = Together(layer);
        foreach (int neuron in Always(dense, layer))
            together[neuron] = 0;
        double sum = together.Sum();
        return sum > 0 ? lists.Sum(list => list.Sum(i => together[i])) / sum : base.MeanCount(dense, layer, lists, neurons);
    }

    private double[] Scores(int layer, int group) =>
        (_importance ?? throw new InvalidOperationException("a split by importance is prepared with a text before it divides")).Scores[layer][group];

    /// <summary>Each neuron's importance for all groups, which count the same.</summary>
    private double[] Together(int layer)
    {
        double[] sum = new double[Scores(layer, 0).Length];
        for (int e = 0; e < experts; e++)
            if (Scores(layer, e) is var scores && scores.Sum() is > 0 and var total)
                for (int i = 0; i < sum.Length; i++)
                    sum[i] += scores[i] / total;
        return sum;
    }

    /// <summary>The places of the largest values, in rising order; of equals the first.</summary>
    private static int[] Most(double[] values, int count) =>
        [.. values.Index().OrderByDescending(static v => v.Item).ThenBy(static v => v.Index).Take(count).Select(static v => v.Index).Order()];
}
