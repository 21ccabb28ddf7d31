using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>How parameters are asked for, held and given back.</summary>
public abstract class WeightStores(IBackend backend) : OnBackend(backend)
{
    [Fact]
    public void For_inference_a_weight_stays_as_it_is_stored()
    {
        using WeightStore store = new(Backend, new Halves(), trainable: false);
        Tensor w = store.Root["layers"][3]["mlp"].Get("weight", [2, 3], Init.Normal(1));
        Assert.Equal("layers.3.mlp.weight", w.Name);
        Assert.Equal(DType.BF16, w.DType);
        Assert.Null(w.Grad);
        Assert.False(w.RequiresGrad);
    }

    [Fact]
    public void A_small_parameter_is_widened_exactly()
    {
        using WeightStore store = new(Backend, new Halves(), trainable: false);
        Tensor norm = store.Root.GetF32("norm", [4], Init.Ones);
        Assert.Equal(DType.F32, norm.DType);
        Assert.Equal([0, 0.5f, 1, 1.5f], Backend.ToFloats(norm));
        Assert.False(norm.RequiresGrad);
    }

    [Fact]
    public void For_training_a_weight_is_F32_with_a_gradient_of_zeros()
    {
        using WeightStore store = new(Backend, new Halves(), trainable: true);
        Tensor w = store.Root.Get("weight", [2, 2], Init.Normal(1));
        Assert.Equal(DType.F32, w.DType);
        Assert.True(w.RequiresGrad);
        Assert.Equal([0, 0.5f, 1, 1.5f], Backend.ToFloats(w));
        Assert.Equal(new float[4], GradOf(w));
    }

    /// <summary>Training moves a copy: what the source handed out, a mapped file or a dense model, stays.</summary>
    [Fact]
    public void Training_leaves_the_source_alone()
    {
        Tensor stored = new RandomWeights(1).Get("w", [3], Init.Normal(1));
        float[] before = stored.Floats.ToArray();
        using WeightStore store = new(Backend, new Always(stored), trainable: true);
        Backend.Fill(store.Root.Get("w", [3], Init.Ones), 7);
        Assert.Equal(before, stored.Floats.ToArray());
    }

    [Theory, InlineData(true), InlineData(false)]
    public void A_path_is_asked_for_once(bool trainable)
    {
        using WeightStore store = new(Backend, new RandomWeights(1), trainable);
        store.Root["a"].Get("b", [2], Init.Ones);
        InvalidOperationException e = Assert.Throws<InvalidOperationException>(() => store.Root["a"].GetF32("b", [2], Init.Ones));
        Assert.Contains("a.b", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_source_that_answers_another_shape_is_refused()
    {
        using WeightStore store = new(Backend, new Always(new RandomWeights(1).Get("w", [3, 2], Init.Ones)), trainable: true);
        InvalidOperationException e = Assert.Throws<InvalidOperationException>(() => store.Root["a"].Get("w", [2, 3], Init.Ones));
        Assert.Contains("a.w", e.Message, StringComparison.Ordinal);
        Assert.Contains("[2, 3]", e.Message, StringComparison.Ordinal);
        Assert.Contains("[3, 2]", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Parameters_are_listed_as_they_were_asked_for_and_counted()
    {
        using WeightStore store = new(Backend, new RandomWeights(1), trainable: false);
        store.Root["z"].Get("w", [2, 3], Init.Ones);
        store.Root["a"].Get("w", [5], Init.Ones);
        Assert.Equal(["z.w", "a.w"], store.All.Select(p => p.Name));
        Assert.Equal(11, store.Count);
    }

    [Theory, InlineData(true), InlineData(false)]
    public void A_buffer_is_stored_and_learns_nothing(bool trainable)
    {
        using WeightStore store = new(Backend, new Halves(), trainable);
        Tensor w = store.Root.Get("w", [2], Init.Ones), bias = store.Root["gate"].GetBuffer("bias", [3], Init.Zeros);
        Assert.Equal([w], store.All);
        Assert.Equal([bias], store.Buffers);
        Assert.Equal("gate.bias", bias.Name);
        Assert.Equal(DType.F32, bias.DType);
        Assert.Equal([0, 0.5f, 1], Backend.ToFloats(bias));
        Assert.False(bias.RequiresGrad);
        Assert.Null(bias.Grad);
        Assert.Equal(2, store.Count);
        Assert.Equal(trainable ? DType.F32 : DType.BF16, store.Stored(bias).DType);
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Dispose_gives_everything_back(bool trainable)
    {
        int before = Backend.LiveBuffers;
        WeightStore store = new(Backend, new Halves(), trainable);
        store.Root.Get("w", [2, 3], Init.Ones);
        store.Root.GetF32("norm", [3], Init.Ones);
        store.Root.GetBuffer("bias", [3], Init.Zeros);
        Assert.True(Backend.LiveBuffers > before);
        store.Dispose();
        store.Dispose();
        Assert.Equal(before, Backend.LiveBuffers);
    }

    [Fact]
    public void ZeroGrad_clears_what_a_pass_has_left()
    {
        using WeightStore store = new(Backend, new RandomWeights(1), trainable: true);
        Tensor w = store.Root.Get("w", [4], Init.Normal(1));
        using (Tape g = Tape.Training(Backend))
            g.Backward(g.SumOfSquares(w));
        Assert.All(GradOf(w), d => Assert.NotEqual(0, d));
        store.ZeroGrad();
        Assert.Equal(new float[4], GradOf(w));
    }

    /// <summary>Stores every tensor as BF16: 0, 0.5, 1, 1.5, …</summary>
    private sealed class Halves : IWeightSource
    {
        public Tensor Get(string path, Shape shape, Init init)
        {
            Tensor y = new(shape, DType.BF16, new NativeStorage(2 * shape.Count));
            for (int i = 0; i < shape.Count; i++)
                y.Host<ushort>()[i] = DTypes.ToBF16(i / 2f);
            return y;
        }
    }

    private sealed class Always(Tensor answer) : IWeightSource
    {
        public Tensor Get(string path, Shape shape, Init init) => answer;
    }
}
