using MoeFromScratch.Autograd;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Losses;

/// <summary>Padding around a batch, or its split into micro-batches, changes neither the losses nor any gradient beyond rounding.</summary>
public sealed class InvarianceTests
{
    private static readonly IReadOnlyList<RouterLoss> TokenLosses = [new RouterZLoss(0.05f), new RouterEntropyLoss(0.3f)];

    public static TheoryData<string, string> Runs { get; } = Machines.Runs(GoldenCase.Dropless, [Machines.Reference, Machines.Cpu(8, 2)]);

    [Theory]
    [MemberData(nameof(Runs))]
    public void PaddingChangesNothing(string golden, string machine)
    {
        using Subject s = new(golden, machine);
        RouterLoss[] losses = [.. TokenLosses, new LoadBalanceLoss(0.1f), new LoadBalanceLoss(0.1f, BalanceScope.Model)];
        int length = s.Length, padded = length + 3;
        Values plain = s.Run((g, x) => x.Add(g, Batch.Packed(g, s.Ids, [length, length]), Loss.NextTokens(s.Ids, length), losses, 1));
        foreach (int left in new[] { 0, 3, 1 })
        {
            int[] ids = new int[2 * padded], mask = new int[2 * padded];
            for (int b = 0; b < 2; b++)
            {
                s.Ids.AsSpan(b * length, length).CopyTo(ids.AsSpan(b * padded + left));
                mask.AsSpan(b * padded + left, length).Fill(1);
            }
            int[] labels = Loss.NextTokens(ids, padded, mask);
            for (int t = 0; t < labels.Length; t++)
                labels[t] = mask[t] == 0 ? -1 : labels[t];
            Values around = s.Run((g, x) => x.Add(g, Batch.Padded(g, ids, 2, mask), labels, losses, 1));
            plain.AssertClose(around);
        }
    }

    /// <summary>Three sequences of different lengths at once, one by one, and two and one: each part counts by its tokens.</summary>
    [Theory]
    [MemberData(nameof(Runs))]
    public void MicroBatchesAddUp(string golden, string machine)
    {
        using Subject s = new(golden, machine);
        int[] lengths = [s.Length, s.Length - 7, 7];
        Values whole = s.Run((g, x) => Add(g, x, 0, 3));
        whole.AssertClose(s.Run((g, x) =>
        {
            Add(g, x, 0, 1);
            Add(g, x, 1, 2);
            Add(g, x, 2, 3);
        }));
        whole.AssertClose(s.Run((g, x) =>
        {
            Add(g, x, 0, 2);
            Add(g, x, 2, 3);
        }));

        void Add(Tape g, Values x, int from, int to)
        {
            int[][] sequences = [.. Enumerable.Range(from, to - from).Select(i => s.Ids.AsSpan(lengths[..i].Sum(), lengths[i]).ToArray())];
            int[] ids = [.. sequences.SelectMany(static q => q)], labels = [.. sequences.SelectMany(static q => Loss.NextTokens(q, q.Length))];
            x.Add(g, Batch.Packed(g, ids, lengths.AsSpan(from, to - from)), labels, TokenLosses, (float)ids.Length / s.Ids.Length);
        }
    }

    /// <summary>What evens out the experts' loads is a matter of each micro-batch: a step's value is their mean, each by its formula in double.</summary>
    [Theory]
    [InlineData("dynamic-moe", "load_balance")]
    [InlineData("dynamic-moe", "load_balance over all layers")]
    [InlineData("mixtral", "load_balance")]
    [InlineData("mixtral", "load_balance over all layers")]
    [InlineData("moe-plus-plus", "heterogeneous_balance")]
    [InlineData("uni-moe-2", "dcmoe_balance")]
    [InlineData("llama-moe", "importance_load")]
    public void BalanceIsTheMeanOverMicroBatches(string golden, string name)
    {
        (RouterLoss loss, Func<IReadOnlyList<Routed>, double> formula) = Balances.Named(name);
        using Subject s = new(golden, Machines.Reference);
        int[][] halves = [s.Ids[..s.Length], s.Ids[s.Length..]];
        Values[] values = [.. halves.Select(ids => s.Run((g, x) => x.Add(g, Batch.Packed(g, ids, [s.Length]), Loss.NextTokens(ids, s.Length), [loss], 1)))];
        Values step = s.Run((g, x) =>
        {
            foreach (int[] ids in halves)
                x.Add(g, Batch.Packed(g, ids, [s.Length]), Loss.NextTokens(ids, s.Length), [loss], 0.5f);
        });
        double[] expected = [.. halves.Select(ids => formula(s.Route(ids)))];
        Assert.NotEqual(expected[0], expected[1], 1e-3);
        Assert.Equal(expected[0], values[0].RouterLoss, 1e-5);
        Assert.Equal(expected[1], values[1].RouterLoss, 1e-5);
        Assert.Equal((expected[0] + expected[1]) / 2, step.RouterLoss, 1e-5);
    }

    /// <summary>A batch's losses and gradients.</summary>
    private sealed class Values(LanguageModel model, int labels)
    {
        public float RouterLoss => _losses[2];

        private readonly float[] _losses = new float[6];
        private List<float[]> _gradients = [];

        public void Add(Tape g, in Batch batch, int[] next, IReadOnlyList<RouterLoss> routerLosses, float share)
        {
            List<LayerOutput> layers = [];
            Tensor logits = model.Transformer.Forward(g, batch, layers).Logits;
            LossTerms terms = Loss.Of(g, logits, next, 1f / labels, layers, routerLosses, batch.TokenMask, share);
            _losses[0] += g.Backend.ToFloats(terms.Total)[0];
            _losses[1] += g.Backend.ToFloats(terms.CrossEntropy)[0];
            for (int i = 0; i < terms.RouterLosses.Count; i++)
                _losses[2 + i] += g.Backend.ToFloats(terms.RouterLosses[i])[0] * share;
            g.Backward(terms.Total);
            g.Reset();
            _gradients = [.. model.Weights.All.Select(p => g.Backend.ToFloats(p.Grad!))];
        }

        public void AssertClose(Values other)
        {
            Close.Within("losses", _losses, other._losses, 2e-6f, 1e-6f);
            // With other rows beside its own an expert's sums may run in another order: few rows and many have kernels of their own.
            foreach ((int i, float[] gradient) in _gradients.Index())
                Close.Within(model.Weights.All[i].Name!, gradient, other._gradients[i], 4e-6f * gradient.Max(MathF.Abs) + 2e-6f, 0);
        }
    }

    private sealed class Subject : IDisposable
    {
        private readonly IBackend _backend;
        private readonly LanguageModel _model;

        public Subject(string golden, string machine)
        {
            GoldenCase expected = new(golden);
            (Ids, Length) = (expected.Input.Ids, expected.Input.Length);
            _backend = Machines.Make(machine);
            _model = LanguageModel.Load(expected.Folder, _backend, trainable: true);
        }

        public int[] Ids { get; }
        public int Length { get; }

        public Values Run(Action<Tape, Values> body)
        {
            Values values = new(_model, Ids.Length - 2);
            using Tape g = Tape.Training(_backend);
            _model.Weights.ZeroGrad();
            body(g, values);
            return values;
        }

        /// <summary>What the routers do with one sequence.</summary>
        public IReadOnlyList<Routed> Route(int[] ids)
        {
            using Tape g = Tape.Inference(_backend, keepAll: true);
            List<LayerOutput> layers = [];
            _model.Transformer.Forward(g, Batch.Packed(g, ids, [ids.Length]), layers);
            return [.. layers.Where(static l => l.Routing is not null).Select(l => Routed.Of(_backend, l.Routing!.Value))];
        }

        public void Dispose()
        {
            _model.Dispose();
            _backend.Dispose();
        }
    }
}
