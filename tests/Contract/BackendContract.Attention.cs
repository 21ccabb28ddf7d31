using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>One attention: heads, reach, and (query start, query count, key start, key count) of each sequence.</summary>
    /// <param name="Visible">Share of the pairs that a random mask lets see each other; 1 for no mask.</param>
    public sealed record AttentionCase(string Name, int H, int Hkv, int K, int[] Sequences,
        bool Causal = true, int Window = 0, float Visible = 1, int UnusedRows = 0, int Kv = 0, bool Sinks = false)
    {
        public int B => Sequences.Length / 4;
        public int T => Enumerable.Range(0, B).Select(b => Sequences[4 * b] + Sequences[4 * b + 1]).DefaultIfEmpty().Max() + UnusedRows;
        public int Tk => Enumerable.Range(0, B).Select(b => Sequences[4 * b + 2] + Sequences[4 * b + 3]).DefaultIfEmpty().Max() + UnusedRows;
        public int LongestKeys => Enumerable.Range(0, B).Select(b => Sequences[4 * b + 3]).DefaultIfEmpty().Max();
        public AttentionLayout Layout => new(H, Hkv, K, 1 / MathF.Sqrt(K), Causal, Window, Kv);
        public override string ToString() => Name;
    }

    private static readonly int[] Ragged = [0, 3, 0, 3, 3, 1, 3, 1, 4, 7, 4, 7, 11, 13, 11, 13];
    private static readonly int[] Long = [0, 130, 0, 130, 130, 65, 130, 65];
    private static readonly int[] Cached = [0, 1, 0, 9, 1, 3, 20, 17, 4, 1, 40, 70];

    private static readonly AttentionCase[] AttentionCases =
    [
        new("one token", 1, 1, 4, [0, 1, 0, 1]),
        new("one causal sequence", 2, 2, 8, [0, 5, 0, 5]),
        new("ragged sequences", 2, 2, 16, Ragged),
        new("two heads per key head", 4, 2, 12, Ragged),
        new("one key head", 6, 1, 7, Ragged),
        new("head dim 1", 2, 1, 1, Ragged),
        new("head dim 3", 3, 3, 3, Ragged),
        new("head dim 13", 4, 2, 13, Ragged),
        new("head dim 33", 4, 2, 33, Ragged),
        new("head dim 65", 2, 1, 65, Ragged),
        new("keys from a cache", 4, 2, 16, Cached, UnusedRows: 5),
        new("decode", 8, 2, 32, [0, 1, 0, 131]),
        new("decode far on, chunks of several blocks", 2, 1, 4, [0, 1, 0, 2500]),
        new("decode far on, eight queries and a short neighbour", 2, 2, 6, [0, 8, 0, 2111, 8, 2, 2111, 5]),
        new("decode with sinks, a window and a mask", 4, 2, 12, [0, 2, 3, 300, 2, 1, 40, 70], Window: 200, Visible: 0.7f, Sinks: true),
        new("decode beside a prefill", 4, 2, 12, [0, 1, 0, 90, 1, 20, 90, 25, 21, 8, 115, 40]),
        new("chunk of a prefill", 2, 1, 8, [0, 5, 0, 21]),
        new("bidirectional", 2, 1, 8, Ragged, Causal: false),
        new("bidirectional, more queries than keys", 2, 1, 8, [0, 9, 0, 4], Causal: false),
        new("more queries than keys, the first see nothing", 2, 1, 8, [0, 9, 0, 4]),
        new("window of one", 2, 1, 8, Ragged, Window: 1),
        new("window", 4, 2, 12, Ragged, Window: 4),
        new("window on cached keys", 2, 1, 8, Cached, Window: 7),
        new("window wider than all", 2, 1, 8, Ragged, Window: 100),
        new("mask", 2, 1, 8, Ragged, Visible: 0.6f),
        new("mask without causality", 4, 2, 12, Ragged, Causal: false, Visible: 0.5f),
        new("mask that hides most, some queries see nothing", 4, 2, 9, Ragged, Visible: 0.1f),
        new("mask and window on cached keys", 4, 1, 16, Cached, Window: 12, Visible: 0.7f),
        new("an empty sequence", 2, 1, 8, [0, 0, 0, 0, 0, 4, 0, 4]),
        new("a sequence without keys", 2, 1, 8, [0, 3, 0, 0, 3, 4, 0, 4]),
        new("queries of no sequence", 2, 1, 8, [1, 4, 2, 4], UnusedRows: 2),
        new("longer than a block", 2, 1, 32, Long),
        new("values narrower than keys", 4, 2, 24, Ragged, Kv: 16),
        new("values wider than keys", 4, 2, 7, Ragged, Kv: 33),
        new("values of width 1", 2, 1, 13, Ragged, Kv: 1),
        new("narrower values, longer than a block", 2, 1, 48, Long, Kv: 20),
        new("wider values, longer than a block", 2, 2, 20, Long, Kv: 65),
        new("narrower values from a cache", 4, 2, 16, Cached, UnusedRows: 5, Kv: 9),
        new("heads wider than a tile", 2, 1, 200, [0, 70, 0, 70], Kv: 132),
        new("sinks", 4, 2, 12, Ragged, Sinks: true),
        new("sinks without causality", 4, 2, 12, Ragged, Causal: false, Sinks: true),
        new("sinks and window", 4, 2, 12, Ragged, Window: 4, Sinks: true),
        new("sinks and window, longer than a block", 4, 1, 16, Long, Window: 70, Sinks: true),
        new("sinks and window on cached keys", 8, 1, 8, Cached, Window: 7, Sinks: true),
        new("sinks and a mask that hides most, some queries see nothing", 4, 2, 9, Ragged, Visible: 0.1f, Sinks: true),
        new("sinks and queries of no sequence", 2, 1, 8, [1, 4, 2, 4], UnusedRows: 2, Sinks: true),
        new("sinks and narrower values", 6, 2, 12, Ragged, Kv: 8, Sinks: true),
        new("several blocks of queries and keys", 2, 1, 24, [0, 290, 0, 301]),
        new("several blocks, bidirectional", 2, 2, 16, [0, 200, 0, 200], Causal: false),
        new("several blocks, window shorter than one", 4, 1, 16, [0, 150, 0, 260], Window: 40),
        new("several blocks, mask and window", 2, 1, 12, [0, 120, 0, 210, 120, 9, 3, 100], Window: 105, Visible: 0.5f, Sinks: true),
        new("several blocks, the first queries see nothing", 2, 1, 8, [0, 230, 0, 110]),
    ];

    public static TheoryData<string> AttentionNames => [.. AttentionCases.Select(c => c.Name)];

    [Theory, MemberData(nameof(AttentionNames))]
    public void Attention_agrees(string name)
    {
        AttentionCase c = AttentionCases.Single(c => c.Name == name);
        foreach (DType stored in (DType[])[DType.F32, DType.BF16, DType.F16])
            Agree(AttentionSums, t => Attend(t, c, stored));
    }

    [Theory, MemberData(nameof(AttentionNames))]
    public void AttentionGrad_agrees_for_every_choice_of_gradients(string name)
    {
        AttentionCase c = AttentionCases.Single(c => c.Name == name);
        foreach (string? only in new[] { null, "dq", "dk", "dv", "dsinks" })
            Agree(AttentionSums, t =>
            {
                (Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor? sinks, Tensor y, Tensor lse) = Attend(t, c);
                t.Backend.AttentionGrad(q, k, v, sequences, visible, sinks, c.Layout, y, lse, t.Normal(y.Shape),
                    Wanted("dq", q), Wanted("dk", k), Wanted("dv", v), Wanted("dsinks", sinks));

                Tensor? Wanted(string name, Tensor? of) => of is not null && (only ?? name) == name ? t.Accumulator(name, of.Shape) : null;
            });
    }

    [Fact]
    public void Attention_of_no_query_writes_nothing() => Agree(Exact, t =>
        t.Backend.Attention(t.Normal([0, 16]), t.Normal([3, 8]), t.Normal([3, 8]), t.Input([1, 4], [0, 0, 0, 3]), null, null,
            new AttentionLayout(2, 1, 8, 1), t.Output("y", [0, 16]), t.Output("lse", [0, 2])));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Attention_to_nothing_is_zero_and_leaves_no_gradient(bool withSinks)
    {
        float[] sinks = [0.5f, -2];
        AttentionLayout layout = new(Heads: 2, KvHeads: 1, HeadDim: 4, Scale: 0.5f);
        IReadOnlyList<Outcome> outcomes = Trial.Run(Subject, 1, t =>
        {
            Tensor q = t.Normal([2, 8]), k = t.Normal([2, 4]), v = t.Normal([2, 4]);
            Tensor sequences = t.Input([1, 4], [0, 2, 0, 2]), visible = t.Input([2, 2], [0, 0, 0, 0]);
            Tensor y = t.Output("y", [2, 8]), lse = t.Output("lse", [2, 2]);
            Tensor? sink = withSinks ? t.Input([2], sinks) : null;
            t.Backend.Attention(q, k, v, sequences, visible, sink, layout, y, lse);
            t.Backend.AttentionGrad(q, k, v, sequences, visible, sink, layout, y, lse, t.Normal([2, 8]),
                t.Accumulator("dq", [2, 8], new float[16]), t.Accumulator("dk", [2, 4], new float[8]), t.Accumulator("dv", [2, 4], new float[8]),
                withSinks ? t.Accumulator("dsinks", [2], new float[2]) : null);
        });
        foreach (Outcome o in outcomes)
            Assert.All(o.Floats.Index(), x => Assert.Equal(o.Name != "lse" ? 0 : withSinks ? sinks[x.Index % 2] : float.NegativeInfinity, x.Item));
    }

    /// <summary>A sink is a key that all see, with the sink for a score and a value of zeros.</summary>
    [Fact]
    public void Attention_with_sinks_is_attention_with_a_key_without_a_value()
    {
        AttentionLayout layout = new(Heads: 1, KvHeads: 1, HeadDim: 2, Scale: 1);
        float[] q = [0.3f, -1, 1, 0.8f], k = [1, 0.5f, -0.2f, 1], v = [1, 2, -3, 4];
        float[][] ys = [.. new[] { true, false }.Select(sink => Trial.Run(Subject, 1, t =>
        {
            Tensor y = t.Output("y", [2, 2]), lse = t.Zeroed("", [2, 1], DType.F32);
            if (sink)
                t.Backend.Attention(t.Input([2, 2], q), t.Input([2, 2], k), t.Input([2, 2], v), t.Input([1, 4], [0, 2, 0, 2]), null, t.Input([1], [0f]), layout, y, lse);
            else
                t.Backend.Attention(t.Input([2, 2], q), t.Input([3, 2], [0, 0, .. k]), t.Input([3, 2], [0, 0, .. v]), t.Input([1, 4], [0, 2, 0, 3]), null, null, layout, y, lse);
        }).Single(o => o.Name == "y").Floats.ToArray())];
        for (int i = 0; i < 4; i++)
            Assert.Equal(ys[0][i], ys[1][i], 1e-6f);
    }

    /// <summary>T, heads, head dim.</summary>
    public static TheoryData<int, int, int, bool> RopeCases
    {
        get
        {
            TheoryData<int, int, int, bool> cases = [];
            foreach ((int T, int H, int K) in new[] { (1, 1, 2), (3, 2, 6), (7, 1, 14), (5, 3, 26), (2, 4, 34), (4, 2, 66), (0, 2, 8), (90, 8, 64) })
                foreach (bool interleaved in new[] { false, true })
                    cases.Add(T, H, K, interleaved);
            return cases;
        }
    }

    [Theory, MemberData(nameof(RopeCases))]
    public void Rope_turns_pairs(int T, int H, int K, bool interleaved) => Agree(Elementwise, t =>
        t.Backend.Rope(t.Normal([T, H * K]), Positions(t, T), Frequencies(t, K), new RopeLayout(K, interleaved), t.Output("y", [T, H * K])));

    [Theory, MemberData(nameof(RopeCases))]
    public void RopeGrad_adds_the_pairs_turned_back(int T, int H, int K, bool interleaved) => Agree(Elementwise, t =>
        t.Backend.RopeGrad(t.Normal([T, H * K]), Positions(t, T), Frequencies(t, K), new RopeLayout(K, interleaved), t.Accumulator("dx", [T, H * K])));

    /// <summary>The first columns, the last, and some between; a magnitude.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public void Rope_leaves_the_other_columns(bool interleaved)
    {
        foreach ((int T, int H, int K, int first, int turned) in new[]
            { (3, 2, 6, 0, 4), (3, 4, 24, 16, 0), (4, 3, 13, 5, 8), (5, 2, 65, 1, 34), (2, 1, 9, 9, 0), (70, 4, 192, 128, 64) })
            Agree(Elementwise, t =>
            {
                RopeLayout layout = new(K, interleaved, first, turned, Magnitude: 1.25f);
                Tensor positions = Positions(t, T), frequencies = Frequencies(t, 2 * layout.Pairs);
                t.Backend.Rope(t.Normal([T, H * K]), positions, frequencies, layout, t.Output("y", [T, H * K]));
                t.Backend.RopeGrad(t.Normal([T, H * K]), positions, frequencies, layout, t.Accumulator("dx", [T, H * K]));
            });
    }

    [Fact]
    public void Rope_turns_what_it_is_told_to()
    {
        float half = MathF.PI / 2;
        RopeLayout layout = new(4, First: 1, Turned: 2, Magnitude: 2);
        float[] y = Trial.Run(Subject, 1, t => t.Backend.Rope(
            t.Input([1, 4], [9f, 1, 2, 8]), t.Input([1], [1]), t.Input([1], [half]), layout, t.Output("y", [1, 4]))).Single().Floats;
        Assert.All(y.Zip([9, -4, 2, 8]), static p => Assert.Equal(p.Second, p.First, 1e-5f));
    }

    /// <summary>Each position is met several times, or once: the two ways to their sines give the same.</summary>
    [Theory, InlineData(1), InlineData(4)]
    public void Rope_of_several_sequences(int sequences) => Agree(Elementwise, t =>
    {
        const int Length = 19, H = 3, K = 26;
        Tensor positions = t.Input([sequences * Length], [.. Enumerable.Range(0, sequences * Length).Select(static i => i * 7 % Length)]);
        RopeLayout layout = new(K, Magnitude: 0.5f);
        t.Backend.Rope(t.Normal([sequences * Length, H * K]), positions, Frequencies(t, K), layout, t.Output("y", [sequences * Length, H * K]));
        t.Backend.RopeGrad(t.Normal([sequences * Length, H * K]), positions, Frequencies(t, K), layout, t.Accumulator("dx", [sequences * Length, H * K]));
    });

    private static Tensor Positions(Trial t, int T) =>
        t.Input([T], [.. Enumerable.Range(0, T).Select(i => i == 0 ? 0 : t.Noise(60).Below(5000, i))]);

    /// <summary>The usual ones of base 10000, the last at rest: a head that is rotated in part.</summary>
    private static Tensor Frequencies(Trial t, int K) =>
        t.Input([K / 2], [.. Enumerable.Range(0, K / 2).Select(i => i > 0 && i == K / 2 - 1 ? 0 : MathF.Pow(10000, -2f * i / K))]);

    private static (Tensor Q, Tensor K, Tensor V, Tensor Sequences, Tensor? Visible, Tensor? Sinks, Tensor Y, Tensor Lse) Attend(Trial t, AttentionCase c, DType stored = DType.F32)
    {
        int kv = c.Layout.ValueDim;
        Tensor q = t.Normal([c.T, c.H * c.K]), k = t.Normal([c.Tk, c.Hkv * c.K], stored), v = t.Normal([c.Tk, c.Hkv * kv], stored);
        Tensor sequences = t.Input([c.B, 4], c.Sequences);
        int columns = c.LongestKeys + 2;   // wider than needed
        Tensor? visible = c.Visible == 1 ? null : t.Input([c.T, columns],
            [.. Enumerable.Range(0, c.T * columns).Select(i => t.Noise(61).Uniform(i) < c.Visible ? 1 : 0)]);
        Tensor? sinks = c.Sinks ? t.Normal([c.H]) : null;
        Tensor y = t.Output("y", [c.T, c.H * kv]), lse = t.Output("lse", [c.T, c.H]);
        t.Backend.Attention(q, k, v, sequences, visible, sinks, c.Layout, y, lse);
        return (q, k, v, sequences, visible, sinks, y, lse);
    }
}
