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

    [Theory]
    [MemberData(nameof(Runs))]
    public void MicroBatchesAddUp(string golden, string machine)
    {
        using Subject s = new(golden, machine);
        int length = s.Length;
        Values whole = s.Run((g, x) => x.Add(g, Batch.Packed(g, s.Ids, [length, length]), Loss.NextTokens(s.Ids, length), TokenLosses, 1));
        Values split = s.Run((g, x) =>
        {
            for (int b = 0; b < 2; b++)
            {
                int[] ids = s.Ids[(b * length)..((b + 1) * length)];
                x.Add(g, Batch.Packed(g, ids, [length]), Loss.NextTokens(ids, length), TokenLosses, 0.5f);
            }
        });
        whole.AssertClose(split);
    }

    /// <summary>A batch's losses and gradients.</summary>
    private sealed class Values(LanguageModel model, int labels)
    {
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
            foreach ((int i, float[] gradient) in _gradients.Index())
                Close.Within(model.Weights.All[i].Name!, gradient, other._gradients[i], 2e-6f * gradient.Max(MathF.Abs) + 1e-6f, 0);
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

        public void Dispose()
        {
            _model.Dispose();
            _backend.Dispose();
        }
    }
}
