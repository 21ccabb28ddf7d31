using MoeFromScratch.Tensors;
using Xunit;

namespace MoeFromScratch.Contract;

/// <summary>
/// Forward and backward of single operations against PyTorch: every file of tests/golden/numerics, the seam's methods
/// called directly. A new file without a line in the table is a failing test.
/// </summary>
public abstract partial class GoldenNumerics
{
    /// <summary>How far from PyTorch we may be, in units of its own distance from float64; two F32 roundings at least.</summary>
    private const double Slack = 10, Roundings = 1.2e-7;

    /// <summary>The backend under test; its owner disposes it.</summary>
    protected abstract IBackend Subject { get; }

    public static TheoryData<string> Files =>
        [.. Directory.EnumerateFiles(Golden.Folder("numerics"), "*.safetensors").Select(f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal)];

    /// <summary>Each file: PyTorch's own float32 against float64 (tests/golden/numerics/README.md), and what is done with it.</summary>
    private static readonly Dictionary<string, (double Deviation, Action<GoldenFile> Test)> Table = new()
    {
        ["linear"] = (1.6e-7, Linear),
        ["embedding"] = (4.2e-8, Embedding),
        ["rmsnorm"] = (1.2e-7, RmsNorm),
        ["rope"] = (3.3e-6, Rope),
        ["rope-interleaved"] = (2.3e-6, RopeInterleaved),
        ["mrope"] = (7.1e-7, MultimodalRope),
        ["attention-causal"] = (2.4e-7, f => { Attention(f, byMask: true); Attention(f, byMask: false); }
        ),
        ["attention-cached"] = (1.7e-7, f => { Attention(f, byMask: true); Attention(f, byMask: false); }
        ),
        ["attention-padded"] = (3.0e-7, f => Attention(f, byMask: true)),
        ["swiglu"] = (3.3e-7, SwiGlu),
        ["activations"] = (9.5e-7, Activations),
        ["softmax"] = (2.7e-6, Softmax),
        ["cross-entropy"] = (5.7e-9, CrossEntropy),
        ["adamw"] = (8.4e-7, AdamW),
        ["adamw-2"] = (1.1e-5, AdamW),
        ["clip-grad-norm"] = (1.0e-7, ClipGradNorm),
        ["number-formats"] = (0, NumberFormats),
    };

    [Theory, MemberData(nameof(Files))]
    public void Agrees_with_PyTorch(string file)
    {
        int live = Subject.LiveBuffers;
        (double deviation, Action<GoldenFile> test) = Table[file];
        using (GoldenFile f = new(file, Subject, Math.Max(Roundings, Slack * deviation)))
            test(f);
        Assert.Equal(live, Subject.LiveBuffers);
    }

    private static void Linear(GoldenFile f)
    {
        Tensor x = f.Get("x"), w = f.Get("w"), b = f.Get("b"), dy = f.Get("probe.y");
        Tensor y = f.New(f.Shape("y")), dx = f.Zeros(x.Shape), dw = f.Zeros(w.Shape), db = f.Zeros(b.Shape);
        f.Backend.Linear(x, w, y);
        f.Backend.Outer(null, b, y);
        f.Backend.LinearGradInput(dy, w, dx);
        f.Backend.LinearGradWeight(dy, x, dw);
        f.Backend.ColumnSum(dy, null, db);
        f.AssertClose("y", y);
        f.AssertClose("grad.x", dx);
        f.AssertClose("grad.w", dw);
        f.AssertClose("grad.b", db);
    }

    private static void Embedding(GoldenFile f)
    {
        Tensor w = f.Get("w"), ids = f.GetInts("ids"), y = f.New(f.Shape("y")), dw = f.Zeros(w.Shape);
        f.Backend.GatherRows(w, ids, default, y);
        f.Backend.ScatterAddRows(f.Get("probe.y"), ids, default, dw);
        f.AssertClose("y", y);
        f.AssertClose("grad.w", dw);
    }

    private static void RmsNorm(GoldenFile f)
    {
        Tensor x = f.Get("x"), w = f.Get("weight"), dy = f.Get("probe.y");
        Tensor y = f.New(x.Shape), r = f.New([x.Rows]), dx = f.Zeros(x.Shape), dw = f.Zeros(w.Shape);
        f.Backend.RmsNorm(x, w, (float)f.Scalar("eps"), y, r);
        f.Backend.RmsNormGrad(x, w, r, dy, dx, dw);
        f.AssertClose("y", y);
        f.AssertClose("grad.x", dx);
        f.AssertClose("grad.weight", dw);
    }

    private static void SwiGlu(GoldenFile f)
    {
        Tensor x = f.Get("x"), wGate = f.Get("w_gate"), wUp = f.Get("w_up"), wDown = f.Get("w_down"), dy = f.Get("probe.y");
        (int T, int F) = (x.Rows, wGate.Rows);
        Tensor gate = f.New([T, F]), up = f.New([T, F]), middle = f.New([T, F]), y = f.New(x.Shape);
        f.Backend.Linear(x, wGate, gate);
        f.Backend.Linear(x, wUp, up);
        f.Backend.Gated<Silu>(gate, up, middle);
        f.Backend.Linear(middle, wDown, y);
        f.AssertClose("y", y);

        Tensor dMiddle = f.Zeros([T, F]), dGate = f.Zeros([T, F]), dUp = f.Zeros([T, F]), dx = f.Zeros(x.Shape);
        Tensor dwGate = f.Zeros(wGate.Shape), dwUp = f.Zeros(wUp.Shape), dwDown = f.Zeros(wDown.Shape);
        f.Backend.LinearGradInput(dy, wDown, dMiddle);
        f.Backend.LinearGradWeight(dy, middle, dwDown);
        f.Backend.GatedGrad<Silu>(gate, up, dMiddle, dGate, dUp);
        f.Backend.LinearGradInput(dGate, wGate, dx);
        f.Backend.LinearGradInput(dUp, wUp, dx);
        f.Backend.LinearGradWeight(dGate, x, dwGate);
        f.Backend.LinearGradWeight(dUp, x, dwUp);
        f.AssertClose("grad.x", dx);
        f.AssertClose("grad.w_gate", dwGate);
        f.AssertClose("grad.w_up", dwUp);
        f.AssertClose("grad.w_down", dwDown);
    }

    private static void Activations(GoldenFile f)
    {
        Check<Silu>("silu");
        Check<Gelu>("gelu");
        Check<GeluTanh>("gelu_tanh");
        Check<Relu>("relu");
        Check<Sigmoid>("sigmoid");
        Check<Tanh>("tanh");
        Check<Softplus>("softplus");

        void Check<TOp>(string name) where TOp : struct, IUnary
        {
            Tensor x = f.Get("x"), y = f.New(x.Shape), dy = f.New(x.Shape), dx = f.Zeros(x.Shape);
            f.Backend.Fill(dy, 1);
            f.Backend.Unary<TOp>(x, y);
            f.Backend.UnaryGrad<TOp>(x, dy, dx);
            f.AssertClose("y." + name, y);
            f.AssertClose("grad." + name, dx);
        }
    }

    private static void Softmax(GoldenFile f)
    {
        const int Top = 4;
        Tensor x = f.Get("x"), y = f.New(x.Shape), lse = f.New([x.Rows]), dx = f.Zeros(x.Shape), mask = f.New(x.Shape);
        f.Backend.Softmax(x, y);
        f.Backend.LogSumExp(x, lse);
        f.Backend.SoftmaxGrad(y, f.Get("probe.softmax"), dx);
        f.Backend.LogSumExpGrad(x, lse, f.Get("probe.logsumexp"), dx);
        f.AssertClose("softmax", y);
        f.AssertClose("logsumexp", lse);
        f.AssertClose("grad.x", dx);

        Tensor logSoftmax = f.Get("x"), minusLse = f.Zeros(lse.Shape);
        f.Backend.Axpy(-1, lse, minusLse);
        f.Backend.Outer(minusLse, null, logSoftmax);
        f.AssertClose("log_softmax", f.Floats("log_softmax"),
            Array.ConvertAll(f.Backend.ToFloats(logSoftmax), v => float.IsNegativeInfinity(v) ? -16384 : v));

        f.Backend.SelectTopK(y, Top, mask);
        float[] expected = new float[x.Count], probs = f.Backend.ToFloats(y), topValues = f.Floats("topk_values");
        int[] top = f.Ints("topk_indices");
        for (int i = 0; i < top.Length; i++)
            expected[i / Top * x.Cols + top[i]] = 1;
        Assert.Equal(expected, f.Backend.ToFloats(mask));
        f.AssertClose("topk_values", topValues, [.. top.Select((e, i) => probs[i / Top * x.Cols + e])]);
    }

    private static void CrossEntropy(GoldenFile f)
    {
        Tensor logits = f.Get("logits"), labels = f.GetInts("labels");
        Tensor y = f.New([logits.Rows]), lse = f.New([logits.Rows]), dy = f.New([logits.Rows]), dlogits = f.Zeros(logits.Shape);
        int counted = f.Ints("labels").Count(label => label >= 0);
        f.Backend.CrossEntropy(logits, labels, y, lse);
        f.AssertClose("loss", f.Floats("loss"), [(float)(f.Backend.ToFloats(y).Sum(v => (double)v) / counted)]);

        f.Backend.Fill(dy, (float)(f.Scalar("probe.loss") / counted));
        f.Backend.CrossEntropyGrad(logits, labels, lse, dy, dlogits);
        f.AssertClose("grad.logits", dlogits);
    }

    private static void AdamW(GoldenFile f)
    {
        Tensor p = f.Get("param.0"), m = f.Zeros(p.Shape), v = f.Zeros(p.Shape);
        AdamWStep rule = new(1, (float)Hyper("lr"), Hyper("beta1"), Hyper("beta2"), (float)Hyper("eps"), (float)Hyper("weight_decay"));
        for (int step = 1; step <= 3; step++)
        {
            f.Backend.AdamW(f.Get($"grad.{step}"), rule with { Step = step }, p, m, v);
            f.AssertClose($"param.{step}", p);
            f.AssertClose($"exp_avg.{step}", m);
            f.AssertClose($"exp_avg_sq.{step}", v);
        }

        double Hyper(string name) => f.Scalar("hyper." + name);
    }

    private static void ClipGradNorm(GoldenFile f)
    {
        Tensor[] grads = [f.Get("grad.0"), f.Get("grad.1"), f.Get("grad.2")];
        Tensor sum = f.Zeros([1]);
        foreach (Tensor grad in grads)
            f.Backend.SumOfSquares(grad, sum);
        float norm = MathF.Sqrt(f.Backend.ToFloats(sum)[0]);
        foreach (int max in new[] { 1, 50 })
        {
            f.AssertClose($"total_norm.max{max}", f.Floats($"total_norm.max{max}"), [norm]);
            for (int i = 0; i < grads.Length; i++)
            {
                Tensor clipped = f.Zeros(grads[i].Shape);
                f.Backend.Axpy(MathF.Min(1, max / (norm + 1e-6f)), grads[i], clipped);
                f.AssertClose($"clipped.max{max}.{i}", clipped);
            }
        }
    }

    private static void NumberFormats(GoldenFile f)
    {
        Check("bfloat16", DType.BF16);
        Check("float16", DType.F16);

        void Check(string name, DType dtype)
        {
            Tensor x = f.Get("float32"), narrow = f.New(x.Shape, dtype), wide = f.New(x.Shape);
            f.Backend.Copy(x, narrow);
            f.Backend.Copy(narrow, wide);
            ushort[] bits = new ushort[x.Count];
            f.Backend.Download<ushort>(narrow, bits);
            float[] expected = f.Floats(name + "_as_float32"), actual = f.Backend.ToFloats(wide);
            int[] expectedBits = f.Ints(name + "_bits");
            for (int i = 0; i < bits.Length; i++)
            {
                Assert.Equal(expected[i], actual[i]);
                if (!float.IsNaN(expected[i]))   // a NaN's payload is free
                    Assert.Equal(expectedBits[i], bits[i]);
            }
            Assert.Equal(expectedBits, f.Halves(name).Select(h => (int)h));
        }
    }
}
