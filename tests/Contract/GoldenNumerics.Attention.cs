using MoeFromScratch.Tensors;

namespace MoeFromScratch.Contract;

public abstract partial class GoldenNumerics
{
    private static void Attention(GoldenFile f, bool byMask)
    {
        Shape query = f.Shape("q"), key = f.Shape("k"), mask = f.Shape("mask");
        (int B, int H, int S, int K, int Hkv, int Sk) = (query[0], query[1], query[2], query[3], key[1], key[2]);
        AttentionLayout layout = new(H, Hkv, K, 1 / MathF.Sqrt(K), Causal: !byMask);
        Tensor sequences = f.From([B, 4], [.. Enumerable.Range(0, B).SelectMany(b => new[] { b * S, S, b * Sk, Sk })]);
        Tensor? visible = byMask ? f.From([B * S, Sk], f.Ints("mask")) : null;

        Tensor q = f.GetPacked("q"), k = f.GetPacked("k"), v = f.GetPacked("v"), dy = f.GetPacked("probe.y");
        Tensor y = f.New(q.Shape), lse = f.New([B * S, H]), dq = f.Zeros(q.Shape), dk = f.Zeros(k.Shape), dv = f.Zeros(v.Shape);
        f.Backend.Attention(q, k, v, sequences, visible, null, layout, y, lse);
        f.Backend.AttentionGrad(q, k, v, sequences, visible, null, layout, y, lse, dy, dq, dk, dv, null);
        f.AssertPackedClose("y", y);
        f.AssertPackedClose("grad.q", dq);
        f.AssertPackedClose("grad.k", dk);
        f.AssertPackedClose("grad.v", dv);
    }

    private static void Rope(GoldenFile f)
    {
        CheckRope(f, "q", interleaved: false);
        CheckRope(f, "k", interleaved: false);

        // Pairs (1, 0) turn into (cos, sin); the file repeats both for the two halves of the head.
        Shape table = f.Shape("cos");
        (int rows, int K) = (table.Rows, table.Cols);
        float[] cos = new float[rows * K], sin = new float[rows * K], ones = new float[rows * K];
        for (int i = 0; i < ones.Length; i++)
            ones[i] = i % K < K / 2 ? 1 : 0;
        Tensor y = f.New([rows, K]);
        f.Backend.Rope(f.From([rows, K], ones), f.From([rows], f.Ints("pos")), Frequencies(f, K), new RopeLayout(K), y);
        float[] turned = f.Backend.ToFloats(y);
        for (int i = 0; i < turned.Length; i++)
        {
            int first = i / K * K + i % (K / 2);
            (cos[i], sin[i]) = (turned[first], turned[first + K / 2]);
        }
        f.AssertClose("cos", f.Floats("cos"), cos);
        f.AssertClose("sin", f.Floats("sin"), sin);
    }

    private static void RopeInterleaved(GoldenFile f) => CheckRope(f, "q", interleaved: true);

    private static void CheckRope(GoldenFile f, string name, bool interleaved)
    {
        int K = f.Shape(name)[3];
        Tensor x = f.GetPacked(name), positions = f.From([x.Rows], f.Ints("pos")), frequencies = Frequencies(f, K);
        Tensor y = f.New(x.Shape), dx = f.Zeros(x.Shape);
        RopeLayout layout = new(K, interleaved);
        f.Backend.Rope(x, positions, frequencies, layout, y);
        f.Backend.RopeGrad(f.GetPacked($"probe.{name}_out"), positions, frequencies, layout, dx);
        f.AssertPackedClose($"{name}_out", y);
        f.AssertPackedClose($"grad.{name}", dx);
    }

    /// <summary>
    /// Qwen2-VL's rotary: a token has one position per axis (time, height, width) and each pair belongs to one axis. On this
    /// seam that is one <see cref="IBackend.Rope"/> per axis in which the pairs of the other axes rest, their frequency being 0.
    /// </summary>
    private static void MultimodalRope(GoldenFile f)
    {
        foreach (string name in new[] { "q", "k" })
        {
            int K = f.Shape(name)[3];
            int[] positions = f.Ints("pos"), section = f.Ints("mrope_section");
            Tensor x = f.GetPacked(name), dy = f.GetPacked($"probe.{name}_out");
            int firstPair = 0;
            for (int axis = 0; axis < section.Length; axis++)
            {
                float[] frequencies = Frequencies(f.Scalar("base"), K);
                for (int i = 0; i < frequencies.Length; i++)
                    if (i < firstPair || i >= firstPair + section[axis])
                        frequencies[i] = 0;
                firstPair += section[axis];

                Tensor at = f.From([x.Rows], positions.AsSpan(axis * x.Rows, x.Rows)), turns = f.From([K / 2], frequencies);
                Tensor y = f.New(x.Shape), dx = f.Zeros(x.Shape);
                f.Backend.Rope(x, at, turns, new RopeLayout(K), y);
                f.Backend.RopeGrad(dy, at, turns, new RopeLayout(K), dx);   // axes do not meet, so their order is free
                (x, dy) = (y, dx);
            }
            f.AssertPackedClose($"{name}_out", x);
            f.AssertPackedClose($"grad.{name}", dy);
        }
    }

    private static Tensor Frequencies(GoldenFile f, int K) => f.From([K / 2], Frequencies(f.Scalar("base"), K));

    /// <summary>base^(−2i/K) in F32, as the references compute it.</summary>
    private static float[] Frequencies(double @base, int K) =>
        [.. Enumerable.Range(0, K / 2).Select(i => 1 / MathF.Pow((float)@base, 2f * i / K))];
}
