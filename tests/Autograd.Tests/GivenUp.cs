using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>Where a sum grows.</summary>
public abstract class GivenUp(IBackend backend) : OnBackend(backend)
{
    [Fact]
    public void In_inference_a_sum_grows_where_it_lies_if_that_was_given_up()
    {
        Tensor x = Constant([3, 5]), s = Constant([3], stream: 1);
        using Tape g = Tape.Inference(Backend);
        Tensor first = g.ScaleRows(x, s), kept = g.ScaleRows(x, s, first);
        Assert.NotSame(first, kept);
        Tensor grown = g.ScaleRows(x, s, g.GiveUp(first));
        Assert.Same(first, grown);
        Assert.Equal(Backend.ToFloats(kept), Backend.ToFloats(grown));
        Assert.NotSame(grown, g.ScaleRows(x, s, grown));   // a promise holds for one op
    }

    [Fact]
    public void What_will_be_looked_at_stays()
    {
        Tensor x = Parameter([3, 5]), s = Constant([3], stream: 1);
        using Tape training = Tape.Training(Backend), watched = Tape.Inference(Backend, keepAll: true);
        foreach (Tape g in new[] { training, watched })
        {
            Tensor first = g.ScaleRows(x, s);
            Assert.NotSame(first, g.ScaleRows(x, s, g.GiveUp(first)));
        }
    }
}
