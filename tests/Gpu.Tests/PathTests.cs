using MoeFromScratch.Contract;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Tests;

/// <summary>
/// Every path of the kernels once, those that read by fours among them, and as small as can be, since ILGPU's own simulation takes a
/// thread of the machine for each of the device's. The contract in full runs on KernelCheck.
/// </summary>
public abstract class PathTests(IBackend device) : IDisposable
{
    private const double Exact = 0, Sums = 1e-5;

    /// <summary>Each test's own: classes run beside each other, and a backend has one caller.</summary>
    private readonly ReferenceBackend _oracle = new(poison: true);

    public static TheoryData<DType> WeightTypes => [DType.F32, DType.BF16, DType.F16];

    [Theory, MemberData(nameof(WeightTypes))]
    public void Copy(DType from)
    {
        float[] values = [0, -0f, 1, -2.5f, 1 / 3f, 65519, 65520, 1e-5f, 3e-8f, 1e-38f, -7e37f, float.PositiveInfinity, float.NegativeInfinity];
        foreach (DType to in new[] { DType.F32, DType.BF16, DType.F16 })
            Agree(Exact, t => t.Backend.Copy(t.Input([values.Length], values, from), t.Zeroed("y", [values.Length], to)));
    }

    [Fact]
    public void RowByRow()
    {
        Agree(Sums, t => t.Backend.RmsNorm(t.Normal([3, 37]), t.Normal([37]), 1e-6f, t.Output("y", [3, 37]), t.Output("r", [3])));
        Agree(Sums, t => t.Backend.Softmax(t.Normal([3, 37], scale: 3), t.Output("y", [3, 37])));
        Agree(Sums, t => t.Backend.Unary<Silu>(t.Normal([70]), t.Output("y", [70])));
        foreach (bool interleaved in new[] { false, true })
            Agree(Sums, t => t.Backend.Rope(t.Normal([2, 12]), t.Input([2], [3, 5000]), t.Input([3], [1, 0.01f, 0]), new RopeLayout(6, interleaved), t.Output("y", [2, 12])));
    }

    /// <summary>Of few rows, both products in one launch; of more, in tiles. Where elements can be read by fours, and where not.</summary>
    [Theory, MemberData(nameof(WeightTypes))]
    public void Linear(DType type)
    {
        foreach ((int T, int D) in new[] { (1, 36), (8, 36), (3, 35), (9, 36), (9, 35) })
            Agree(Sums, t => OnAligned(t, [t.Normal([T, D]), t.Normal([5, D], type), t.Normal([8, D], type), t.Output("first", [T, 5]), t.Output("second", [T, 8])], x =>
            {
                t.Backend.Linear(x[0], x[1], x[3]);
                t.Backend.Linear(x[0], x[2], x[4]);
            }));
    }

    /// <summary>Of few rows, the second wants what the first leaves: an output that both write, the first's input, its output as weights.</summary>
    [Fact]
    public void LinearsOneAfterTheOther()
    {
        foreach (string sharedBy in new[] { "outputs", "input and output", "output and weights" })
            Agree(Sums, t =>
            {
                Tensor x = t.Accumulator("x", [8, 8]), w = t.Normal([8, 8]), y = t.Accumulator("y", [8, 8]), v = t.Normal([8, 8]), z = t.Accumulator("z", [8, 8]);
                t.Backend.Linear(x, w, y);
                if (sharedBy == "outputs")
                    t.Backend.Linear(z, v, y);
                else if (sharedBy == "input and output")
                    t.Backend.Linear(v, w, x);
                else
                    t.Backend.Linear(v, y, z);
            });
    }

    [Theory, MemberData(nameof(WeightTypes))]
    public void LinearGrad(DType type)
    {
        foreach ((int T, int N, int D) in new[] { (5, 8, 12), (5, 7, 11) })
            Agree(Sums, t => OnAligned(t, [t.Normal([T, N]), t.Normal([N, D], type), t.Normal([T, D]), t.Accumulator("dx", [T, D]), t.Accumulator("dw", [N, D])], x =>
            {
                t.Backend.LinearGradInput(x[0], x[1], x[3]);
                t.Backend.LinearGradWeight(x[0], x[2], x[4]);
            }));
    }

    [Fact]
    public void Selection()
    {
        float[] equals = [0.25f, 0.125f, 0.25f, 0.125f, 0.25f, 0, 0.5f, 0.25f, 0.125f, 0.125f];
        Agree(Exact, t => t.Backend.SelectTopK(t.Input([2, 5], equals), 2, t.Output("mask", [2, 5])));
        Agree(Exact, t => t.Backend.SelectTopP(t.Input([2, 5], equals), new TopPRule(0.6f), t.Output("mask", [2, 5])));
    }

    /// <summary>Of few tokens, and of more.</summary>
    [Theory, InlineData(5), InlineData(40)]
    public void SelectionOfTokens(int tokens)
    {
        float[] mask = [.. Enumerable.Range(0, 3 * tokens).Select(static i => i % 4 == 1 ? 0f : 1)], scores = [.. Enumerable.Range(0, 3 * tokens).Select(static i => i * 7 % 5 - 2.5f)];
        foreach (float[]? by in new[] { scores, null })
            Agree(Exact, t => t.Backend.SelectTokens(t.Input([tokens, 3], mask), by is null ? null : t.Input([tokens, 3], by), [3, 3, 1], t.Output("kept", [tokens, 3])));
    }

    /// <summary>Of few tokens, and of more.</summary>
    [Theory, InlineData(7), InlineData(40)]
    public void SlotLists(int tokens)
    {
        Slots slots = new(new Noise(1), tokens, 3);
        Agree(Exact, t =>
        {
            Tensor mask = t.Input([tokens, 3], slots.Mask), offsets = t.Zeroed("offsets", [4], DType.I32);
            t.Backend.CountSlots(mask, offsets);
            t.Backend.FillSlots(mask, offsets, t.Output("token", [slots.Live], DType.I32), t.Output("expert", [slots.Live], DType.I32));
        });
    }

    [Theory, MemberData(nameof(WeightTypes))]
    public void GatedExperts(DType type)
    {
        foreach ((int T, int D) in new[] { (4, 12), (4, 11), (9, 12) })
            Agree(2 * Sums, t =>
            {
                const int E = 2, F = 8;
                Slots slots = new(t.Noise(1), T, E, lonely: -1);
                Tensor[] w = [.. Enumerable.Range(0, 3 * E).Select(i => t.Normal(i < 2 * E ? [F, D] : [D, F], type))];
                ExpertSlots chosen = new(t.Input([slots.Live], [.. slots.Token]), t.Normal([slots.Live]), new SlotRange(t.Input([E + 1], slots.Offsets), 0, E));
                OnAligned(t, [t.Normal([T, D]), t.Output("a", [slots.Live, F]), t.Output("b", [slots.Live, F]), .. w], x =>
                    t.Backend.GatedExperts<Silu>(x[0], chosen, new(x.AsSpan(3)), x[1], x[2], t.Accumulator("y", [T, D])));
            });
    }

    /// <summary>One of the gradients is not wanted.</summary>
    [Theory, InlineData(12), InlineData(11)]
    public void GatedExpertsGrad(int D) => Agree(5 * Sums, t =>
    {
        const int T = 9, E = 2, F = 8;
        Slots slots = new(t.Noise(1), T, E, lonely: -1);
        ExpertSlots chosen = new(t.Input([slots.Live], [.. slots.Token]), t.Normal([slots.Live]), new SlotRange(t.Input([E + 1], slots.Offsets), 0, E));
        Tensor[] acc = [t.Accumulator("a", [slots.Live, F]), t.Accumulator("b", [slots.Live, F]), t.Accumulator("dx", [T, D])];
        Tensor[] w = [.. Enumerable.Range(0, 3 * E).Select(i => t.Normal(Matrix(i)))], dw = [.. Enumerable.Range(0, 3 * E).Select(i => t.Accumulator($"dw {i}", Matrix(i)))];
        OnAligned(t, [t.Normal([T, D]), t.Normal([T, D]), .. acc, .. w, .. dw], x =>
            t.Backend.GatedExpertsGrad<Silu>(x[0], chosen, new(x.AsSpan(5, 3 * E)), x[2], x[3], x[1], x[4], t.Accumulator("dweight", [slots.Live]),
                new([.. x[(5 + 3 * E)..^1], null])));

        Shape Matrix(int i) => i < 2 * E ? [F, D] : [D, F];
    });

    /// <summary>Into few rows, and into so many that slots are sorted.</summary>
    [Theory, InlineData(3), InlineData(600)]
    public void ScatterAddRows(int rows) => Agree(Exact, t =>
        t.Backend.ScatterAddRows(t.Normal([7, 10]), t.Input([7], [2, 0, 2, 1, rows - 1, 2, 0]), default, t.Accumulator("y", [rows, 10])));

    /// <summary>Of few queries, with keys before them; of more, in tiles. Where heads can be read by fours, and where not.</summary>
    [Theory, MemberData(nameof(WeightTypes))]
    public void Attention(DType stored)
    {
        foreach ((int queries, int keys) in new[] { (2, 11), (9, 9) })
            foreach ((int headDim, int valueDim) in new[] { (6, 5), (8, 4) })
                Agree(Sums, t => OnAligned(t, [t.Normal([queries, 2 * headDim]), t.Normal([keys, headDim], stored), t.Normal([keys, valueDim], stored), t.Output("y", [queries, 2 * valueDim])], x =>
                    t.Backend.Attention(x[0], x[1], x[2], t.Input([1, 4], [0, queries, 0, keys]), null, t.Normal([2]),
                        new AttentionLayout(Heads: 2, KvHeads: 1, headDim, Scale: 0.4f, ValueDim: valueDim), x[3], t.Output("lse", [queries, 2]))));
    }

    [Theory, MemberData(nameof(WeightTypes))]
    public void WriteRows(DType stored) => Agree(Exact, t => t.Backend.WriteRows(t.Normal([2, 5]), t.Input([2], [3, 1]), t.Zeroed("y", [4, 5], stored)));

    /// <summary>Where heads can be read by fours, and where not. Any y and lse will do.</summary>
    [Theory, InlineData(6, 5), InlineData(8, 4)]
    public void AttentionGrad(int headDim, int valueDim) => Agree(2 * Sums, t =>
        OnAligned(t, [t.Normal([9, 2 * headDim]), t.Normal([9, headDim]), t.Normal([9, valueDim]), t.Normal([9, 2 * valueDim])], x => t.Backend.AttentionGrad(
            x[0], x[1], x[2], t.Input([1, 4], [0, 9, 0, 9]), null, t.Normal([2]), new AttentionLayout(2, 1, headDim, 0.4f, Window: 5, ValueDim: valueDim),
            t.Normal(x[3].Shape), t.Normal([9, 2]), x[3], t.Accumulator("dq", x[0].Shape), t.Accumulator("dk", x[1].Shape), t.Accumulator("dv", x[2].Shape), t.Accumulator("dsinks", [2]))));

    [Fact]
    public void Sample()
    {
        foreach (SamplingRule rule in new SamplingRule[] { new(0), new(1, 0.3f), new(1, 0.6f, TopK: 20, TopP: 0.7f, MinP: 0.1f) })
            Agree(Exact, t => t.Backend.Sample(t.Accumulator("logits", [70]), t.Input([2], [5, 3]), rule with { Penalty = 2 }, t.Output("id", [1], DType.I32)));
    }

    public void Dispose()
    {
        _oracle.Dispose();
        GC.SuppressFinalize(this);
    }

    private void Agree(double tolerance, Action<Trial> call) =>
        Outcome.AssertClose(Trial.Run(_oracle, 1, call), Trial.Run(device, 1, call), tolerance);

    /// <summary>A trial's tensors begin at odd places, so that nothing is read or written by fours: their copies do not.</summary>
    private static void OnAligned(Trial t, Tensor[] from, Action<Tensor[]> call)
    {
        Tensor[] copies = [.. from.Select(x => t.Backend.New(x.Shape, x.DType))];
        for (int i = 0; i < copies.Length; i++)
            t.Backend.Copy(from[i], copies[i]);
        call(copies);
        for (int i = 0; i < copies.Length; i++)
        {
            t.Backend.Copy(copies[i], from[i]);
            t.Backend.Free(copies[i]);
        }
    }
}
