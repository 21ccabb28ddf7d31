using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void LinearGradInput(Tensor dy, Tensor w, Tensor dx)
    {
        Check.F32(dy);
        Check.Weight(w, dy.Cols, w.Cols);
        Check.Matrix(dx, dy.Rows, w.Cols);
        MultiplyByRows<PlainInput>(w.DType, Product(Matrix(dy), Matrix(w), default, dx, adds: true));
    }

    public void LinearGradWeight(Tensor dy, Tensor x, Tensor dw)
    {
        Check.F32(dy);
        Check.Matrix(x, dy.Rows, x.Cols);
        Check.Matrix(dw, dy.Cols, x.Cols);
        AddGradWeights<PlainInput>(Matrix(dy), Matrix(x), Slots(default, dy.Rows), [dw]);
    }

    public void GroupedLinearGradInput(Tensor dy, SlotRange range, ReadOnlySpan<Tensor> w, Tensor dx)
    {
        Check.F32(dy);
        Check.Matrix(dx, dy.Rows, dx.Cols);
        SlotRange readable = Readable(range);
        Check.Experts(readable, dy.Rows, w.Length);
        foreach (Tensor one in w)
            Check.Weight(one, dy.Cols, dx.Cols);
        if (w.Length == 0)
            return;
        using Stacked stacked = Stack(w);
        MultiplyByRows<PlainInput>(stacked.DType, Product(Matrix(dy), stacked.Matrix, range, dx, adds: true));
    }

    public void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw)
    {
        Check.F32(dy);
        Check.Matrix(x, dy.Rows, x.Cols);
        SlotRange readable = Readable(range);
        Check.Experts(readable, dy.Rows, dw.Length);
        foreach (Tensor? one in dw)
            if (one is not null)
                Check.Matrix(one, dy.Cols, x.Cols);
        AddGradWeights<PlainInput>(Matrix(dy), Matrix(x), Slots(range, dy.Rows), dw);
    }

    /// <summary>y = x · w, or y += it, as in <see cref="Multiply{TRows, TInput}"/>.</summary>
    private void MultiplyByRows<TInput>(DType weights, ProductArgs args) where TInput : struct, IProductInput
    {
        switch (weights)
        {
            case DType.F32: Launch<RowsProductKernel<TInput, F32>, ProductArgs>(TileGrid(args), ProductTile.Threads, args); break;
            case DType.BF16: Launch<RowsProductKernel<TInput, BF16>, ProductArgs>(TileGrid(args), ProductTile.Threads, args); break;
            default: Launch<RowsProductKernel<TInput, F16>, ProductArgs>(TileGrid(args), ProductTile.Threads, args); break;
        }
    }

    /// <summary>
    /// dw[e] += Σ_{s of e} dy[s]ᵀ · x[s]. Gradients are allocated one by one and come back to others of their size, so they are handed over as
    /// views, as many as a launch takes.
    /// </summary>
    private void AddGradWeights<TInput>(MatrixView dy, MatrixView x, SlotView slots, ReadOnlySpan<Tensor?> dw) where TInput : struct, IProductInput
    {
        for (int first = 0; first < dw.Length; first += GradientViews.Capacity)
        {
            WeightGradArgs args = new()
            {
                Product = new ProductArgs
                {
                    Left = dy,
                    Right = x,
                    Slots = slots with { First = slots.First + first },
                    M = dy.Cols,
                    N = x.Cols,
                    Adds = true,
                    IsAligned = true,
                },
            };
            foreach (Tensor? one in dw[first..Math.Min(first + GradientViews.Capacity, dw.Length)])
            {
                args.Dw.Add(ViewOrNone<float>(one));
                args.Product.IsAligned = args.Product.IsAligned && (one is null || IsAligned(one, x.Cols));
            }
            Index3D grid = new(Tiles(x.Cols, ProductTile.N), Tiles(dy.Cols, ProductTile.M), args.Dw.Count);
            Launch<WeightGradKernel<TInput>, WeightGradArgs>(grid, ProductTile.Threads, args);
        }
    }
}
