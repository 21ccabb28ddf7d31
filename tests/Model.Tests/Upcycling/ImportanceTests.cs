using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Upcycling;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Upcycling;

public sealed class ImportanceTests : IDisposable
{
    private readonly Workshop _shop = new();

    public void Dispose() => _shop.Dispose();

    /// <summary>Σ |w · ∂L/∂w| of one window, its gradients by central differences of the loss.</summary>
    [Fact]
    public void IsWhatFiniteDifferencesSay()
    {
        const int Neuron = 5, Length = 16;
        string dense = _shop.Tiny();
        int[] ids = Tiny.Input(Tiny.Config("mixtral"), 1, Length).Ids;
        NeuronImportance importance;
        using (DenseModel source = DenseModel.Load(dense, _shop.Backend))
            importance = NeuronImportance.Of(source, new Sample([.. ids, .. ids], "ids"), groups: 1, seed: 0);
        using LanguageModel model = LanguageModel.Load(dense, _shop.Backend, trainable: true);
        Dictionary<string, Tensor> parameters = model.Weights.All.ToDictionary(static p => p.Name!);
        double expected = 0;
        foreach (string name in new[] { "gate_proj", "up_proj", "down_proj" })
        {
            Tensor p = parameters[$"model.layers.1.mlp.{name}.weight"];
            for (int d = 0; d < 20; d++)
                expected += Math.Abs(Slope(p, name == "down_proj" ? d * 24 + Neuron : Neuron * 20 + d));
        }
        Assert.Equal(2 * expected, importance.Scores[1][0][Neuron], 0.02 * expected);       // two windows alike
        Assert.Equal((2, 1, 24), (importance.Scores.Length, importance.Scores[1].Length, importance.Scores[1][0].Length));

        double Slope(Tensor p, int at)
        {
            const float Step = 1e-2f;
            float w = p.Floats[at];
            p.Floats[at] = w + Step;
            double above = Loss();
            p.Floats[at] = w - Step;
            double below = Loss();
            p.Floats[at] = w;
            return w * (above - below) / (2 * Step);
        }

        double Loss()
        {
            float[] logits = Tiny.Logits(model, ids, Length);
            int vocabulary = model.Config.VocabSize;
            return Enumerable.Range(0, Length - 1).Average(t =>
            {
                float[] row = logits[(t * vocabulary)..((t + 1) * vocabulary)];
                double max = row.Max();
                return max + Math.Log(row.Sum(l => Math.Exp(l - max))) - row[ids[t + 1]];
            });
        }
    }

    /// <summary>Neurons without weights matter for nothing: no expert takes one while others are left, and those who matter to all run always if asked.</summary>
    [Fact]
    public void DeadNeuronsAreLeftOut()
    {
        string dense = _shop.Tiny();
        Workshop.Rewrite(dense, static (name, i, w) => name.Contains("down_proj", StringComparison.Ordinal) && i % 24 % 2 == 1 ? 0 : w);     // odd neurons are not heard
        foreach (int shared in new[] { 0, 8 })
        {
            (_, Receipt receipt) = _shop.Upcycle(dense, new UpcycleOptions(new ImportanceSplit(2, shared, 1, new SplitRouter(2, null, TwoMatrices: false))));
            Assert.Contains(shared == 0 ? "12 of 24" : "8 of 24", Assert.Single(receipt.Plan.Notes), StringComparison.Ordinal);
            Assert.All(receipt.Plan.Config.Layers, static l => Assert.Equal(1, ((NoisyTopKRouterConfig)((MoeConfig)l).Router).Scale));    // both experts have all that matters
            Neurons[] lists = [.. receipt.Plan.Tensors.Select(static t => t.Origin).OfType<FromDense>().Where(static f => f.Columns).Select(static f => f.Neurons!)];
            Assert.Equal(shared == 0 ? 4 : 6, lists.Length);
            Assert.All(lists.Where(l => shared == 0 || l.Owner.Contains("shared", StringComparison.Ordinal)), static l => Assert.All(l.All, static n => Assert.Equal(0, n % 2)));
            Assert.All(lists.GroupBy(static l => l.Owner[0]).Where(_ => shared > 0), static layer =>
                Assert.Empty(layer.Last().All.Intersect(layer.First().All.Concat(layer.ElementAt(1).All))));
        }
    }
}
