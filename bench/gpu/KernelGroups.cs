using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Gpu;

/// <summary>The kernels of a model at the sizes of real ones. Bytes are those of inputs and outputs, each counted once; what is added to is both.</summary>
internal static partial class KernelGroups
{
    private const double F = sizeof(float);

    private static readonly DType[] s_weights = [DType.F32, DType.BF16, DType.F16];

    /// <summary>What the others are held against.</summary>
    public static IEnumerable<Func<Bed, IEnumerable<Kernel>>> Ceilings(Sizes s) =>
    [
        bed =>
        {
            Tensor x = bed.Zeros([s.Copied]), y = bed.New([s.Copied]);
            return [new($"copy {s.Copied >> 18} MiB", 2 * F * s.Copied, 0, () => bed.Backend.Copy(x, y))];
        },
        bed =>
        {
            List<Kernel> products = [Linear(bed, s.Square, s.Square, s.Square, DType.F32)];
            AddRungs(bed, s.Square, products);
            return products;
        },
    ];

    public static IEnumerable<Func<Bed, IEnumerable<Kernel>>> All(Sizes s)
    {
        foreach (DType type in s_weights)
            yield return bed => [Linear(bed, 1, s.Hidden, s.Wide, type), Linear(bed, 8, s.Hidden, s.Wide, type), Linear(bed, Math.Min(512, s.Tokens), s.Hidden, s.Hidden, type)];
        yield return bed => Rows(bed, s);
        yield return bed => Attention(bed, s);
        yield return bed => Training(bed, s);
        foreach (MoeShape shape in s.Moe)
            yield return bed => Moe(bed, shape, s.MoeTokens);
    }

    /// <summary>Every rung of the ladder, which are reached through ILGPU's own backend.</summary>
    static partial void AddRungs(Bed bed, int side, List<Kernel> kernels);

    private static Kernel Linear(Bed bed, int t, int d, int n, DType type)
    {
        Tensor x = bed.Random([t, d]), w = bed.Random([n, d], type), y = bed.New([t, n]);
        return new($"linear {t} × {d} → {n}, {type}", F * t * (d + n) + w.Bytes, 2.0 * t * d * n, () => bed.Backend.Linear(x, w, y));
    }

    private static IEnumerable<Kernel> Rows(Bed bed, Sizes s)
    {
        IBackend b = bed.Backend;
        int t = s.Tokens, d = s.Hidden;
        Tensor x = bed.Random([t, d]), y = bed.New([t, d]), w = bed.Random([d]), r = bed.New([t]), table = bed.Random([s.Vocabulary, d], DType.BF16);
        Tensor positions = bed.Ints([.. Enumerable.Range(0, t)]), ids = bed.Ints([.. Enumerable.Range(0, t).Select(i => 7919 * i % s.Vocabulary)]);
        Tensor frequencies = bed.Random([s.HeadDim / 2]);
        yield return new($"RMSNorm {t} × {d}", 2 * F * t * d, 4.0 * t * d, () => b.RmsNorm(x, w, 1e-6f, y, r));
        yield return new($"rotary angles {t} × {d}", 2 * F * t * d, 0, () => b.Rope(x, positions, frequencies, new RopeLayout(s.HeadDim), y));
        yield return new($"SwiGLU's middle {t} × {d}", 3 * F * t * d, 0, () => b.Gated<Silu>(x, y, y));
        yield return new($"embedding {t} × {d}, BF16", (F + 2) * t * d, 0, () => b.GatherRows(table, ids, default, y));
        Tensor logits = bed.Random([t, s.Vocabulary]), id = bed.New([1], DType.I32);
        Tensor one = logits.View([s.Vocabulary]);
        yield return new($"softmax {t} × {s.Vocabulary}", 2 * F * t * s.Vocabulary, 0, () => b.Softmax(logits, logits));
        yield return new($"sampling, greedy, of {s.Vocabulary}", F * s.Vocabulary, 0, () => b.Sample(one, null, new SamplingRule(0), id));
        yield return new($"sampling, top-k and top-p, of {s.Vocabulary}", F * s.Vocabulary, 0, () => b.Sample(one, null, new SamplingRule(1, 0.5f, 40, 0.9f), id));
    }

    private static IEnumerable<Kernel> Attention(Bed bed, Sizes s)
    {
        IBackend b = bed.Backend;
        int q = s.Heads * s.HeadDim, kv = s.KvHeads * s.HeadDim, t = s.Tokens;
        AttentionLayout layout = new(s.Heads, s.KvHeads, s.HeadDim, 1 / MathF.Sqrt(s.HeadDim));
        Tensor k = bed.Random([t, kv]), v = bed.Random([t, kv]), all = bed.Random([t, q]), one = bed.Random([1, q]);
        Tensor y = bed.New([t, q]), y1 = bed.New([1, q]), lse = bed.New([t, s.Heads]), lse1 = bed.New([1, s.Heads]);
        Tensor whole = bed.Ints(0, t, 0, t).View([1, 4]), last = bed.Ints(0, 1, 0, t).View([1, 4]);
        double pairs = t * (t + 1.0) / 2 * s.Heads;
        yield return new($"attention, {t} queries of {s.Heads} heads", F * t * 2 * (q + kv), 4 * s.HeadDim * pairs, () => b.Attention(all, k, v, whole, null, null, layout, y, lse));
        foreach (DType stored in s_weights)
        {
            Tensor keys = bed.Random([t, kv], stored), values = bed.Random([t, kv], stored);
            yield return new($"attention, 1 query, {t} keys, {stored}", 2.0 * keys.Bytes, 4.0 * s.HeadDim * t * s.Heads, () => b.Attention(one, keys, values, last, null, null, layout, y1, lse1));
        }
        Tensor dy = bed.Random([t, q]), dq = bed.Zeros([t, q]), dk = bed.Zeros([t, kv]), dv = bed.Zeros([t, kv]);
        yield return new($"attention's gradient, {t} queries", F * t * (5 * q + 6 * kv), 10 * s.HeadDim * pairs,
            () => b.AttentionGrad(all, k, v, whole, null, null, layout, y, lse, dy, dq, dk, dv, null));
    }

    private static IEnumerable<Kernel> Training(Bed bed, Sizes s)
    {
        IBackend b = bed.Backend;
        int t = s.Tokens, d = s.Hidden, v = s.Vocabulary;
        Tensor x = bed.Random([t, d]), dx = bed.Zeros([t, d]), w = bed.Random([d, d]), dw = bed.Zeros([d, d]), dy = bed.Random([t, d]);
        yield return new($"linear's input gradient {t} × {d} ← {d}", F * (3 * t * d + d * d), 2.0 * t * d * d, () => b.LinearGradInput(dy, w, dx));
        yield return new($"linear's weight gradient {d} × {d} ← {t}", F * (2 * t * d + 2 * d * d), 2.0 * t * d * d, () => b.LinearGradWeight(dy, x, dw));
        Tensor gain = bed.Random([d]), dgain = bed.Zeros([d]), r = bed.New([t]), y = bed.New([t, d]);
        b.RmsNorm(x, gain, 1e-6f, y, r);
        yield return new($"RMSNorm's gradient {t} × {d}", 4 * F * t * d, 0, () => b.RmsNormGrad(x, gain, r, dy, dx, dgain));
        Tensor m = bed.Zeros([d, d]), second = bed.Zeros([d, d]), sum = bed.Zeros([1]);
        yield return new($"AdamW {d} × {d}", 7 * F * d * d, 0, () => b.AdamW(dw, new AdamWStep(1, 1e-4f, 0.9, 0.95, 1e-8f, 0.1f), w, m, second));
        yield return new($"sum of squares {d} × {d}", F * d * d, 0, () => b.SumOfSquares(dw, sum));
        Tensor logits = bed.Random([t, v]), labels = bed.Ints([.. Enumerable.Range(0, t).Select(i => 7919 * i % v)]), loss = bed.New([t]), lse = bed.New([t]);
        Tensor dlogits = bed.Zeros([t, v]), each = bed.Random([t]), table = bed.Zeros([v, d]);
        yield return new($"cross-entropy {t} × {v}", F * t * v, 0, () => b.CrossEntropy(logits, labels, loss, lse));
        yield return new($"cross-entropy's gradient {t} × {v}", 3 * F * t * v, 0, () => b.CrossEntropyGrad(logits, labels, lse, each, dlogits));
        yield return new($"embedding's gradient {t} × {d} into {v}", 3 * F * t * d, 0, () => b.ScatterAddRows(dy, labels, default, table));
    }

    private static IEnumerable<Kernel> Moe(Bed bed, MoeShape shape, int[] tokens)
    {
        IBackend b = bed.Backend;
        (int d, int f, int e) = (shape.Hidden, shape.Width, shape.Experts);
        Tensor[] w = [.. Enumerable.Range(0, 3 * e).Select(i => bed.Random(i < 2 * e ? [f, d] : [d, f], DType.BF16))];
        foreach (int t in tokens)
        {
            int slots = t * shape.TopK;
            Tensor x = bed.Random([t, d]), scores = bed.Random([t, e]), mask = bed.New([t, e]), offsets = bed.New([e + 1], DType.I32);
            Tensor token = bed.New([slots], DType.I32), expert = bed.New([slots], DType.I32), weight = bed.Random([slots]);
            Tensor a = bed.New([slots, f]), up = bed.New([slots, f]), y = bed.Zeros([t, d]);
            Route();
            int used = b.ToInts(offsets).Zip(b.ToInts(offsets)[1..]).Count(static p => p.Second > p.First);
            ExpertSlots chosen = new(token, weight, new SlotRange(offsets, 0, e));
            double weights = 3.0 * d * f;
            yield return new($"{shape.Name}, {t} tokens: top-{shape.TopK} of {e}, slots", F * t * e, 0, Route);
            yield return new($"{shape.Name}, {t} tokens: experts, BF16", 2 * weights * used + 3 * F * t * d, 2 * weights * slots, () => b.GatedExperts<Silu>(x, chosen, new(w), a, up, y));
            Tensor kept = bed.New([t, e]);
            int[] room = [.. Enumerable.Repeat(Math.Max(1, slots / (2 * e)), e)];
            yield return new($"{shape.Name}, {t} tokens: room for {room[0]} an expert", 3 * F * t * e, 0, () => b.SelectTokens(mask, scores, room, kept));
            Tensor gathered = bed.Random([slots, d]);
            yield return new($"{shape.Name}, {t} tokens: one grouped product, BF16", 2.0 * d * f * used + F * slots * (d + f), 2.0 * d * f * slots,
                () => b.GroupedLinear(gathered, chosen.Range, w.AsSpan(0, e), a));

            void Route()
            {
                b.SelectTopK(scores, shape.TopK, mask);
                b.CountSlots(mask, offsets);
                b.FillSlots(mask, offsets, token, expert);
            }
        }
    }
}
