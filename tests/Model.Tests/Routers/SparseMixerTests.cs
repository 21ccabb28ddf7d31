using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>The sparse mixer in training: against the released code's numbers with its draws, and against the distribution it draws from.</summary>
public sealed class SparseMixerTests
{
    public static TheoryData<string> AllMachines => [.. Machines.All];

    [Theory]
    [MemberData(nameof(AllMachines))]
    public void TrainingMatchesTheReleasedCode(string machine)
    {
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(Golden.Folder("phimoe"), "sparsemixer-train.safetensors"));
        float[] Floats(string name) => file.Get(name).Floats.ToArray();
        long[] choices = file.Get("selected_experts").Host<long>().ToArray();
        float[] probe = Floats("probe"), multiplier = Floats("multiplier");
        using IBackend backend = Machines.Make(machine);
        using Tape g = Tape.Training(backend);
        Tensor scores = backend.From([24, 6], Floats("scores"));
        scores.RequiresGrad = true;
        scores.Grad = backend.Zeros(scores.Shape);
        SparseMixerDraw[] draws = [new(Floats("exponential.0"), Floats("uniform.0")), new(Floats("exponential.1"), Floats("uniform.1"))];
        (Tensor selected, Tensor weights) = SparseMixerRouter.Sample(g, scores, Floats("jitter")[0], draws);

        float[] mask = new float[24 * 6], expected = new float[24 * 6], probes = new float[24 * 6];
        foreach ((int i, long expert) in choices.Index())
            (mask[i / 2 * 6 + expert], expected[i / 2 * 6 + expert], probes[i / 2 * 6 + expert]) = (1, multiplier[i], probe[i]);
        Assert.Equal(mask, backend.ToFloats(selected));
        Close.Within("multiplier", expected, backend.ToFloats(weights), 1e-6f, 0);
        Tensor loss = g.RowSum(g.RowSum(g.Mul(weights, g.Constant<float>([24, 6], DType.F32, probes))));
        Close.Within("loss", Floats("loss"), backend.ToFloats(loss), 1e-5f, 0);
        g.Backward(loss);
        Close.Within("grad.scores", Floats("grad.scores"), backend.ToFloats(scores.Grad), 1e-6f, 0);
    }

    /// <summary>Three experts in the band and one far out, 40,000 draws: each as often as its softmax says, and twice, one after the other, never the same.</summary>
    [Fact]
    public void DrawsFromTheSoftmaxOverTheBand()
    {
        const int T = 40_000;
        float[] row = [2, 1.9f, 1.8f, -3];
        using IBackend backend = CpuBackend.Create(1);
        using Tape g = Tape.Inference(backend);
        CounterRandom random = new(3, 4);
        SparseMixerDraw[] draws = [.. Enumerable.Range(0, 2).Select(choice => new SparseMixerDraw(
            [.. Enumerable.Range(0, 4 * T).Select(i => -MathF.Log(random.Uniform((ulong)(i + choice * 4 * T))))],
            [.. Enumerable.Range(0, T).Select(i => random.Uniform((ulong)(i + (8 + choice) * T)))]))];
        Tensor logits = g.Constant<float>([T, 4], DType.F32, [.. Enumerable.Range(0, T).SelectMany(_ => row)]);
        (Tensor first, _) = SparseMixerRouter.Sample(g, logits, 0.1f, draws.AsSpan(0, 1));
        (Tensor both, Tensor weights) = SparseMixerRouter.Sample(g, logits, 0.1f, draws);

        double sum = row[..3].Sum(static s => Math.Exp(s));
        float[] drawn = backend.ToFloats(first), all = backend.ToFloats(both), value = backend.ToFloats(weights);
        for (int e = 0; e < 4; e++)
            Assert.Equal(e == 3 ? 0 : Math.Exp(row[e]) / sum, Enumerable.Range(0, T).Average(t => drawn[t * 4 + e]), 0.01);
        Assert.All(all.Chunk(4), static chosen => Assert.Equal(2, chosen.Sum()));
        double alone = Math.Exp(row[1]) / sum;      // expert 1 first: it is not the likeliest, so a third of its share or, one time in four, all of it
        float[] values = [.. Enumerable.Range(0, T).Where(t => drawn[t * 4 + 1] > 0).Select(t => value[t * 4 + 1])];
        Assert.Equal(0.25, values.Average(v => Math.Abs(v - alone) < 1e-5 ? 1.0 : 0), 0.02);
        Assert.All(values, v => Assert.True(Math.Abs(v - alone) < 1e-5 || Math.Abs(v - alone * 0.3333) < 1e-5));
    }
}
