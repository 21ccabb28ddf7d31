using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Contract;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>AdamW and clipping against PyTorch's numbers, and the rules around them.</summary>
public abstract class Optimisers(IBackend backend) : OnBackend(backend)
{
    /// <param name="tolerance">Ten times PyTorch's own distance from float64, as tests/golden/numerics/README.md gives it.</param>
    [Theory, InlineData("adamw", 8.4e-6), InlineData("adamw-2", 1.1e-4)]
    public void AdamW_walks_as_PyTorchs(string file, double tolerance)
    {
        using GoldenFile golden = new(file, Backend, tolerance);
        Tensor p = golden.Get("param.0"), other = golden.Get("param.0");     // a neighbour, whose moments are its own
        p.Grad = golden.Zeros(p.Shape);
        other.Grad = golden.Zeros(p.Shape);
        AdamWOptions options = new()
        {
            Beta1 = golden.Scalar("hyper.beta1"),
            Beta2 = golden.Scalar("hyper.beta2"),
            Eps = (float)golden.Scalar("hyper.eps"),
            WeightDecay = (float)golden.Scalar("hyper.weight_decay"),
            DecayMatricesOnly = false,
        };
        float learningRate = (float)golden.Scalar("hyper.lr");
        using AdamW optimizer = new(Backend, [p, other], options);
        for (int step = 1; step <= 3; step++)
        {
            float[] gradient = golden.Floats($"grad.{step}");
            Backend.Upload<float>(gradient, p.Grad);
            Backend.Upload<float>(Array.ConvertAll(gradient, g => 4 * g), other.Grad);
            optimizer.Step(learningRate);
            golden.AssertClose($"param.{step}", p);
            Assert.Equal(step, optimizer.Steps);
        }
    }

    [Fact]
    public void A_gradient_scale_is_the_gradient_scaled()
    {
        Tensor scaled = Parameter([3, 4]), plain = Parameter([3, 4]);
        float[] gradient = Values.Normal(12, stream: 5);
        Backend.Upload<float>(Array.ConvertAll(gradient, g => 8 * g), scaled.Grad!);
        Backend.Upload<float>(gradient, plain.Grad!);
        using AdamW first = new(Backend, [scaled], new AdamWOptions()), second = new(Backend, [plain], new AdamWOptions());
        for (int step = 0; step < 2; step++)
        {
            first.Step(0.01f, gradScale: 1f / 8);
            second.Step(0.01f);
        }
        Assert.Equal(Backend.ToFloats(plain), Backend.ToFloats(scaled));
    }

    /// <summary>Without a gradient a step is the decay alone: p (1 − lr · decay).</summary>
    [Theory, InlineData(true), InlineData(false)]
    public void Decay_takes_matrices_alone_or_everything(bool matricesOnly)
    {
        Tensor matrix = Parameter([3, 4]), vector = Parameter([4], stream: 1);
        float[] m = Backend.ToFloats(matrix), v = Backend.ToFloats(vector);
        using AdamW optimizer = new(Backend, [matrix, vector], new AdamWOptions { WeightDecay = 0.5f, DecayMatricesOnly = matricesOnly });
        optimizer.Step(learningRate: 0.1f);
        AssertScaled(m, 0.95f, matrix);
        AssertScaled(v, matricesOnly ? 1 : 0.95f, vector);

        void AssertScaled(float[] before, float factor, Tensor after)
        {
            foreach ((float b, float a) in before.Zip(Backend.ToFloats(after)))
                Assert.Equal(factor * b, a, 1e-6f);
        }
    }

    [Fact]
    public void AdamW_refuses_a_parameter_without_a_gradient()
    {
        using AdamW optimizer = new(Backend, [Constant([2])], new AdamWOptions());
        Assert.Throws<InvalidOperationException>(() => optimizer.Step(0.1f));
    }

    [Theory, InlineData(1), InlineData(50)]
    public void Clipping_is_PyTorchs(int max)
    {
        using GoldenFile golden = new("clip-grad-norm", Backend, tolerance: 1e-6);
        List<Tensor> parameters = [];
        for (int i = 0; i < 3; i++)
        {
            Tensor p = golden.Zeros(golden.Shape($"grad.{i}"));
            p.Grad = golden.Get($"grad.{i}");
            parameters.Add(p);
        }
        parameters.Add(Constant([7]));            // has no gradient and adds nothing

        float norm = GradNorm.Of(Backend, parameters), scale = GradNorm.ClipScale(norm, max);
        golden.AssertClose("norm", golden.Floats($"total_norm.max{max}"), [norm]);
        for (int i = 0; i < 3; i++)
        {
            float[] clipped = Array.ConvertAll(golden.Floats($"grad.{i}"), g => scale * g);
            golden.AssertClose($"clipped {i}", golden.Floats($"clipped.max{max}.{i}"), clipped);
        }
    }

    [Theory, InlineData(3, 4, 1), InlineData(4, 2, 0.5f), InlineData(100, 0, 1), InlineData(0, 1, 1)]
    public void Clip_scale_is_max_over_norm_where_that_is_less_than_one(float norm, float max, float scale) =>
        Assert.Equal(scale, GradNorm.ClipScale(norm, max), 1e-6f);
}
