using MoeFromScratch.Autograd;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Generation;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tracing;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Checkpoints;

/// <summary>Each variant is drawn, saved and loaded; the CPU agrees with the reference, and the reference's gradients with differences.</summary>
public sealed class VariantTests : IDisposable
{
    private const int Sequences = 2, Length = 11;

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Names => Variants.Names;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void MachinesAgree(string variant)
    {
        TraceInput input = Tiny.Input(Variants.All[variant], Sequences, Length);
        Dictionary<string, HostTensor> expected;
        using (IBackend reference = Machines.Make(Machines.Reference))
        using (LanguageModel model = Draw(reference, variant))
        {
            model.Save(_folder.Path);
            expected = Record(model, input, gradients: true);
        }
        foreach (string machine in Machines.All)
            foreach (bool trainable in new[] { false, true })
            {
                using IBackend backend = Machines.Make(machine);
                using LanguageModel model = LanguageModel.Load(_folder.Path, backend, trainable);
                Dictionary<string, HostTensor> actual = Record(model, input, gradients: trainable);
                foreach ((string name, HostTensor tensor) in actual)
                    Close.ByName(name, expected[name], tensor);
                Assert.Equal(trainable, actual.Count == expected.Count);
            }
    }

    /// <summary>Chunks and single tokens through a cache, with windows that end inside it.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void DecodingGivesTheLogitsOfOnePass(string variant)
    {
        foreach (string machine in new[] { Machines.Reference, Machines.Cpu(8, 2) })
        {
            using IBackend backend = Machines.Make(machine);
            using LanguageModel model = Draw(backend, variant);
            int[] tokens = Tiny.Input(model.Config, 1, Length + 9).Ids;
            float[] whole = Tiny.Logits(model, tokens, tokens.Length);
            foreach (int chunk in new[] { 1, 3 })
            {
                using Generator generator = new(model.Transformer, backend, tokens.Length, 1, DType.F32, Tiny.Tasks(model.Config, 1));
                for (int start = 0; start < tokens.Length; start += chunk)
                {
                    int end = Math.Min(tokens.Length, start + chunk);
                    ReadOnlySpan<float> wanted = whole.AsSpan((end - 1) * model.Config.VocabSize, model.Config.VocabSize);
                    generator.Feed(tokens.AsSpan(start, end - start));
                    Close.Activations("logits", wanted, generator.Logits());
                }
            }
        }
    }

    /// <summary>For each parameter, the loss along a random direction changes as the gradient says.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void GradientsAreDifferences(string variant)
    {
        using IBackend backend = Machines.Make(Machines.Reference);
        using LanguageModel model = Draw(backend, variant);
        TraceInput input = Tiny.Input(model.Config, Sequences, Length);
        model.Weights.ZeroGrad();
        (_, float[] routing) = Run(model, input, backward: true);
        Noise noise = new(77);
        int at = 0, checkedCount = 0;
        foreach (Tensor p in model.Weights.All)
        {
            float[] values = backend.ToFloats(p), gradient = backend.ToFloats(p.Grad!);
            float[] direction = [.. values.Select(_ => noise.Normal(at++))];
            const float Step = 5e-4f;
            (double up, float[] routingUp) = At(Step);
            (double down, float[] routingDown) = At(-Step);
            backend.Upload<float>(values, p);
            if (Jumps(routing, routingUp) || Jumps(routing, routingDown))
                continue;   // the loss jumps where a token changes its experts, or what is near them
            checkedCount++;
            double numeric = (up - down) / (2 * Step), analytic = gradient.Zip(direction, static (g, d) => (double)g * d).Sum();
            Assert.True(Math.Abs(numeric - analytic) <= 2e-3 + 0.01 * Math.Abs(analytic), $"{p.Name}: {analytic}, by differences {numeric}");

            (double, float[]) At(float step)
            {
                backend.Upload<float>([.. values.Zip(direction, (v, d) => v + step * d)], p);
                return Run(model, input, backward: false);
            }
        }
        Assert.True(checkedCount > model.Weights.All.Count * 2 / 3, $"{checkedCount} of {model.Weights.All.Count} parameters checked");
    }

    private static LanguageModel Draw(IBackend backend, string variant) =>
        LanguageModel.Create(backend, Tiny.Family(Variants.FamilyOf(variant)), Variants.All[variant], seed: 6);

    private static Dictionary<string, HostTensor> Record(LanguageModel model, TraceInput input, bool gradients)
    {
        Trace trace = new();
        Tracer.Forward(trace, model, input);
        if (gradients)
            Tracer.Gradients(trace, model, input);
        return trace.Tensors.ToDictionary(static t => t.Name, static t => HostTensor.Of(t.Value));
    }

    /// <summary>Whether a weight appears, goes, or takes a step that no small change explains.</summary>
    private static bool Jumps(float[] weights, float[] moved) =>
        weights.Zip(moved).Any(static w => (w.First == 0) != (w.Second == 0) || MathF.Abs(w.First - w.Second) > 0.01f);

    /// <summary>The loss with all router losses, and the weights of the experts.</summary>
    private static (double Loss, float[] Weights) Run(LanguageModel model, TraceInput input, bool backward)
    {
        using Tape g = Tape.Training(model.Backend);
        List<LayerOutput> layers = [];
        Batch batch = Batch.Packed(g, input.Ids, [.. Enumerable.Repeat(input.Length, input.Sequences)], input.Tasks);
        Tensor logits = model.Transformer.Forward(g, batch, layers).Logits;
        RouterLoss[] routerLosses = [new LoadBalanceLoss(0.1f), new LoadBalanceLoss(0.1f, BalanceScope.Model), new RouterZLoss(0.1f), new RouterEntropyLoss(0.1f)];
        LossTerms terms = Loss.Of(g, logits, Loss.NextTokens(input.Ids, input.Length), 1f / (input.Ids.Length - input.Sequences), layers, routerLosses);
        float total = model.Backend.ToFloats(terms.Total)[0];
        if (backward)
            g.Backward(terms.Total);
        return (total, [.. layers.Where(static l => l.Routing is not null).SelectMany(l => model.Backend.ToFloats(l.Routing!.Value.Weights))]);
    }
}
