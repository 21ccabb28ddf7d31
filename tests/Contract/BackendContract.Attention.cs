using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

public abstract partial class BackendContract
{
    /// <summary>One attention: heads, reach, and (query start, query count, key start, key count) of each sequence.</summary>
    /// <param name="Visible">Share of the pairs that a random mask lets see each other; 1 for no mask.</param>
    public sealed record AttentionCase(string Name, int H, int Hkv, int K, int[] Sequences,
        bool Causal = true, int Window = 0, float Visible = 1, int UnusedRows = 0)
    {
        public int B => Sequences.Length / 4;
        public int T => Enumerable.Range(0, B).Select(b => Sequences[4 * b] + Sequences[4 * b + 1]).DefaultIfEmpty().Max() + UnusedRows;
        public int Tk => Enumerable.Range(0, B).Select(b => Sequences[4 * b + 2] + Sequences[4 * b + 3]).DefaultIfEmpty().Max() + UnusedRows;
        public int LongestKeys => Enumerable.Range(0, B).Select(b => Sequences[4 * b + 3]).DefaultIfEmpty().Max();
        public AttentionLayout Layout => new(H, Hkv, K, 1 / MathF.Sqrt(K), Causal, Window);
        public override string ToString() => Name;
    }

    private static readonly int[] Ragged = [0, 3, 0, 3, 3, 1, 3, 1, 4, 7, 4, 7, 11, 13, 11, 13];
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
        new("longer than a block", 2, 1, 32, [0, 130, 0, 130, 130, 65, 130, 65]),
    ];

    public static TheoryData<string> AttentionNames => [.. AttentionCases.Select(c => c.Name)];

    [Theory, MemberData(nameof(AttentionNames))]
    public void Attention_agrees(string name)
    {
        AttentionCase c = AttentionCases.Single(c => c.Name == name);
        Agree(AttentionSums, t => Attend(t, c));
    }

    [Theory, MemberData(nameof(AttentionNames))]
    public void AttentionGrad_agrees_for_every_choice_of_gradients(string name)
    {
        AttentionCase c = AttentionCases.Single(c => c.Name == name);
        foreach ((bool wantsQ, bool wantsK, bool wantsV) in new[] { (true, true, true), (true, false, false), (false, true, false), (false, false, true) })
            Agree(AttentionSums, t =>
            {
                (Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor? visible, Tensor y, Tensor lse) = Attend(t, c);
                t.Backend.AttentionGrad(q, k, v, sequences, visible, c.Layout, y, lse, t.Normal(q.Shape),
                    wantsQ ? t.Accumulator("dq", q.Shape) : null,
                    wantsK ? t.Accumulator("dk", k.Shape) : null,
                    wantsV ? t.Accumulator("dv", v.Shape) : null);
            });
    }

    [Fact]
    public void Attention_of_no_query_writes_nothing() => Agree(Exact, t =>
        t.Backend.Attention(t.Normal([0, 16]), t.Normal([3, 8]), t.Normal([3, 8]), t.Input([1, 4], [0, 0, 0, 3]), null,
            new AttentionLayout(2, 1, 8, 1), t.Output("y", [0, 16]), t.Output("lse", [0, 2])));

    [Fact]
    public void Attention_to_nothing_is_zero_and_leaves_no_gradient()
    {
        AttentionLayout layout = new(Heads: 2, KvHeads: 1, HeadDim: 4, Scale: 0.5f);
        IReadOnlyList<Outcome> outcomes = Trial.Run(Subject, 1, t =>
        {
            Tensor q = t.Normal([2, 8]), k = t.Normal([2, 4]), v = t.Normal([2, 4]);
            Tensor sequences = t.Input([1, 4], [0, 2, 0, 2]), visible = t.Input([2, 2], [0, 0, 0, 0]);
            Tensor y = t.Output("y", [2, 8]), lse = t.Output("lse", [2, 2]);
            t.Backend.Attention(q, k, v, sequences, visible, layout, y, lse);
            t.Backend.AttentionGrad(q, k, v, sequences, visible, layout, y, lse, t.Normal([2, 8]),
                t.Accumulator("dq", [2, 8], new float[16]), t.Accumulator("dk", [2, 4], new float[8]), t.Accumulator("dv", [2, 4], new float[8]));
        });
        foreach (Outcome o in outcomes)
            Assert.All(o.Floats, x => Assert.Equal(o.Name == "lse" ? float.NegativeInfinity : 0, x));
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

    private static Tensor Positions(Trial t, int T) =>
        t.Input([T], [.. Enumerable.Range(0, T).Select(i => i == 0 ? 0 : t.Noise(60).Below(5000, i))]);

    /// <summary>The usual ones of base 10000, the last at rest: a head that is rotated in part.</summary>
    private static Tensor Frequencies(Trial t, int K) =>
        t.Input([K / 2], [.. Enumerable.Range(0, K / 2).Select(i => i > 0 && i == K / 2 - 1 ? 0 : MathF.Pow(10000, -2f * i / K))]);

    private static (Tensor Q, Tensor K, Tensor V, Tensor Sequences, Tensor? Visible, Tensor Y, Tensor Lse) Attend(Trial t, AttentionCase c)
    {
        Tensor q = t.Normal([c.T, c.H * c.K]), k = t.Normal([c.Tk, c.Hkv * c.K]), v = t.Normal([c.Tk, c.Hkv * c.K]);
        Tensor sequences = t.Input([c.B, 4], c.Sequences);
        int columns = c.LongestKeys + 2;   // wider than needed
        Tensor? visible = c.Visible == 1 ? null : t.Input([c.T, columns],
            [.. Enumerable.Range(0, c.T * columns).Select(i => t.Noise(61).Uniform(i) < c.Visible ? 1 : 0)]);
        Tensor y = t.Output("y", q.Shape), lse = t.Output("lse", [c.T, c.H]);
        t.Backend.Attention(q, k, v, sequences, visible, c.Layout, y, lse);
        return (q, k, v, sequences, visible, y, lse);
    }
}
