using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>What the tape accepts, remembers and sends back.</summary>
public abstract class Recording(IBackend backend) : OnBackend(backend)
{
    public static TheoryData<bool> TrainingOrNot => [true, false];

    [Theory, MemberData(nameof(TrainingOrNot))]
    public void A_draft_is_refused_by_name_as_an_input(bool training)
    {
        using Tape g = training ? Tape.Training(Backend) : Tape.Inference(Backend);
        Tensor x = Parameter([2, 3]), six = Constant([6, 2]), draft = g.Unpublished(x);
        foreach (Func<Tensor> op in new Func<Tensor>[]
        {
            () => g.Scale(draft, 1),
            () => g.Mul(x, draft),
            () => g.ColumnSum(six, draft),
            () => g.GroupedLinear(x, default, [draft]),
        })
        {
            InvalidOperationException e = Assert.Throws<InvalidOperationException>(op);
            Assert.Contains("the forgotten one F32[2, 3] is a draft", e.Message, StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(TrainingOrNot))]
    public void Nothing_is_published_twice(bool training)
    {
        using Tape g = training ? Tape.Training(Backend) : Tape.Inference(Backend);
        Tensor x = Parameter([2]), y = g.Scale(x, 2), constant = g.PublishConstant(g.New([3], DType.I32));
        foreach (Tensor published in new[] { x, y, constant, g.Constant([1], 1) })
        {
            Assert.Contains("published twice", Assert.Throws<InvalidOperationException>(() => g.Publish(published, x)).Message, StringComparison.Ordinal);
            Assert.Throws<InvalidOperationException>(() => g.PublishConstant(published));
        }
    }

    [Fact]
    public void An_op_that_forgets_its_node_is_refused_on_the_way_back()
    {
        using Tape g = Tape.Training(Backend);
        Tensor y = g.RowSum(g.WithoutNode(Parameter([3])));
        InvalidOperationException e = Assert.Throws<InvalidOperationException>(() => g.Backward(y));
        Assert.Contains("the forgotten one F32[3] recorded no gradient", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Inference_records_nothing()
    {
        using Tape g = Tape.Inference(Backend);
        Tensor y = g.RowSum(g.Block(Parameter([3]), static (g, x) => g.Keep(g.Scale(x, 2))));
        Assert.Empty(g.Recorded);
        Assert.False(y.RequiresGrad);
        Assert.Contains("does not depend on anything", Assert.Throws<InvalidOperationException>(() => g.Backward(y)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Training_records_only_what_depends_on_a_parameter()
    {
        using Tape g = Tape.Training(Backend);
        Tensor c = Constant([3]), p = Parameter([3]);
        Tensor constant = g.Mul(c, c);
        Assert.Empty(g.Recorded);
        Assert.True(g.Mul(constant, p).RequiresGrad);
        Assert.Equal("Mul", Assert.Single(g.Recorded)!.OpName);
    }

    [Fact]
    public void Backward_starts_from_a_scalar_or_with_a_gradient()
    {
        using Tape g = Tape.Training(Backend);
        Tensor y = g.Scale(Parameter([3]), 2);
        Assert.Throws<ArgumentException>(() => g.Backward(y));
        Assert.Throws<ArgumentException>(() => g.Backward(y, [1, 2]));
    }

    [Fact]
    public void A_tensor_used_twice_gets_both_contributions()
    {
        Tensor x = Parameter([4]), w = Constant([4], stream: 1);
        using Tape g = Tape.Training(Backend);
        g.Backward(g.RowSum(g.Add(g.Mul(x, w), g.Scale(x, 3))));
        foreach ((float dx, float weight) in GradOf(x).Zip(Backend.ToFloats(w)))
            Assert.Equal(weight + 3, dx, 1e-6f);
    }

    [Fact]
    public void Gradients_of_two_passes_add_up()
    {
        Tensor x = Parameter([4]), a = Constant([4], stream: 1), b = Constant([4], stream: 2);
        using Tape g = Tape.Training(Backend);
        g.Backward(g.RowDot(x, a));
        g.Reset();
        g.Backward(g.RowDot(x, b));
        float[] first = Backend.ToFloats(a), second = Backend.ToFloats(b), sum = GradOf(x);
        for (int i = 0; i < sum.Length; i++)
            Assert.Equal(first[i] + second[i], sum[i], 1e-6f);
    }

    /// <summary>Without the refusal the second loss would leave no gradient at all, and nobody would know.</summary>
    [Fact]
    public void A_recording_is_walked_back_once()
    {
        Tensor x = Parameter([4]);
        using Tape g = Tape.Training(Backend);
        Tensor first = g.RowSum(x), second = g.SumOfSquares(x);
        g.Backward(second);
        Assert.Throws<InvalidOperationException>(() => g.Backward(first));
        Assert.Throws<InvalidOperationException>(() => g.Backward(second));
    }

    [Fact]
    public void A_parameter_that_receives_nothing_keeps_its_zeros()
    {
        Tensor x = Parameter([4]), apart = Parameter([2]), unused = Parameter([3]);
        using Tape g = Tape.Training(Backend);
        g.Scale(apart, 2);                        // recorded, but the loss does not depend on it
        g.Backward(g.SumOfSquares(x));
        Assert.All(GradOf(apart), d => Assert.Equal(0, d));
        Assert.All(GradOf(unused), d => Assert.Equal(0, d));
        Assert.All(GradOf(x), d => Assert.NotEqual(0, d));
    }

    /// <summary>Handles are recycled: a gradient left behind would soon be another tensor's memory.</summary>
    [Fact]
    public void A_gradient_the_tape_made_for_a_leaf_goes_with_the_tape()
    {
        Tensor x = Constant([2]);
        x.RequiresGrad = true;
        using Tape g = Tape.Training(Backend);
        g.Backward(g.RowSum(x));
        Assert.Equal([1, 1], GradOf(x));
        g.Reset();
        Assert.Null(x.Grad);
    }

    [Fact]
    public void A_column_weight_cannot_want_a_gradient()
    {
        using Tape g = Tape.Training(Backend);
        Assert.Throws<ArgumentException>(() => g.ColumnSum(Parameter([2, 3]), Parameter([2])));
    }
}
