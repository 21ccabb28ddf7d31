using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>Ops that do what no op should.</summary>
internal static class TestOps
{
    /// <summary>y = 2 x, never published.</summary>
    public static Tensor Unpublished(this Tape g, Tensor x)
    {
        Tensor y = g.NewZeros(x.Shape);
        g.Backend.Axpy(2, x, y);
        y.Name = "the forgotten one";
        return y;
    }

    /// <summary>y = 2 x, published without a node.</summary>
    public static Tensor WithoutNode(this Tape g, Tensor x)
    {
        Tensor y = g.Unpublished(x);
        g.Publish(y, x);
        return y;
    }

    /// <summary>y = 2 x, its gradient spoiled in one element.</summary>
    public static Tensor Spoiled(this Tape g, Tensor x, int element, Func<float, float> spoil)
    {
        Tensor y = g.Unpublished(x);
        g.Publish(y, x)?.Node = new SpoiledBack(x, element, spoil);
        return y;
    }

    /// <summary>y = x, seen on the way there and on the way back.</summary>
    public static Tensor Watched(this Tape g, Tensor x, Action watch)
    {
        Tensor y = g.New(x.Shape);
        g.Backend.Copy(x, y);
        watch();
        g.Publish(y, x)?.Node = new WatchedBack(x, watch);
        return y;
    }

    /// <summary>Σ x², a scalar.</summary>
    public static Tensor SumOfSquares(this Tape g, Tensor x) => g.RowSum(g.RowDot(x, x));

    private sealed class SpoiledBack(Tensor x, int element, Func<float, float> spoil) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            float[] d = Array.ConvertAll(g.Backend.ToFloats(dy), v => 2 * v);
            d[element] = spoil(d[element]);
            g.Backend.Upload<float>(d, g.Grad(x)!);
        }
    }

    private sealed class WatchedBack(Tensor x, Action watch) : Node
    {
        public override void Backward(Tape g, Tensor dy)
        {
            watch();
            g.Backend.Axpy(1, dy, g.Grad(x)!);
        }
    }
}
