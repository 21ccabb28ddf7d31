using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void Linear(Tensor x, Tensor w, Tensor y)
    {
        Check.F32(x);
        Check.Weight(w, w.Rows, x.Cols);
        Check.Matrix(y, x.Rows, w.Rows);
        AddForward(x, 0, x.Rows, w, y);
        _gemm.Run();
    }

    public void LinearGradInput(Tensor dy, Tensor w, Tensor dx)
    {
        Check.F32(dy);
        Check.Weight(w, dy.Cols, w.Cols);
        Check.Matrix(dx, dy.Rows, w.Cols);
        AddGradInput(dy, 0, dy.Rows, w, dx);
        _gemm.Run();
    }

    public void LinearGradWeight(Tensor dy, Tensor x, Tensor dw)
    {
        Check.F32(dy);
        Check.Matrix(x, dy.Rows, x.Cols);
        Check.Matrix(dw, dy.Cols, x.Cols);
        AddGradWeight(dy, x, 0, dy.Rows, dw);
        _gemm.Run();
    }

    public void GroupedLinear(Tensor x, SlotRange range, ReadOnlySpan<Tensor> w, Tensor y)
    {
        Check.F32(x);
        Check.Matrix(y, x.Rows, y.Cols);
        Check.Experts(range, x.Rows, w.Length);
        for (int e = 0; e < w.Length; e++)
            Check.Weight(w[e], y.Cols, x.Cols);
        for (int e = 0; e < w.Length; e++)
        {
            (int start, int end) = Segment(range, e, x.Rows);
            AddForward(x, start, end, w[e], y);
        }
        _gemm.Run();
    }

    public void GroupedLinearGradInput(Tensor dy, SlotRange range, ReadOnlySpan<Tensor> w, Tensor dx)
    {
        Check.F32(dy);
        Check.Matrix(dx, dy.Rows, dx.Cols);
        Check.Experts(range, dy.Rows, w.Length);
        for (int e = 0; e < w.Length; e++)
            Check.Weight(w[e], dy.Cols, dx.Cols);
        for (int e = 0; e < w.Length; e++)
        {
            (int start, int end) = Segment(range, e, dy.Rows);
            AddGradInput(dy, start, end, w[e], dx);
        }
        _gemm.Run();
    }

    public void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw)
    {
        Check.F32(dy);
        Check.Matrix(x, dy.Rows, x.Cols);
        Check.Experts(range, dy.Rows, dw.Length);
        for (int e = 0; e < dw.Length; e++)
            if (dw[e] is Tensor gradient)
                Check.Matrix(gradient, dy.Cols, x.Cols);
        for (int e = 0; e < dw.Length; e++)
            if (dw[e] is Tensor gradient)
            {
                (int start, int end) = Segment(range, e, dy.Rows);
                AddGradWeight(dy, x, start, end, gradient);
            }
        _gemm.Run();
    }

    /// <summary>The slots of the range's e-th expert.</summary>
    private static (int Start, int End) Segment(in SlotRange range, int e, int rows)
    {
        if (range.Offsets is null)
            return (0, rows);
        int* offsets = range.Offsets.Pointer<int>() + range.First + e;
        return (offsets[0], offsets[1]);
    }

    /// <summary>y[rows] = x[rows] · wᵀ</summary>
    private void AddForward(Tensor x, int start, int end, Tensor w, Tensor y) => _gemm.Add(new Product
    {
        A = x.Pointer<float>() + (long)start * x.Cols,
        ARow = x.Cols,
        ACol = 1,
        B = w.Pointer<byte>(),
        BType = w.DType,
        BRow = 1,
        BCol = w.Cols,
        C = y.Pointer<float>() + (long)start * y.Cols,
        CRow = y.Cols,
        M = end - start,
        N = w.Rows,
        K = x.Cols,
    });

    /// <summary>dx[rows] += dy[rows] · w</summary>
    private void AddGradInput(Tensor dy, int start, int end, Tensor w, Tensor dx) => _gemm.Add(new Product
    {
        A = dy.Pointer<float>() + (long)start * dy.Cols,
        ARow = dy.Cols,
        ACol = 1,
        B = w.Pointer<byte>(),
        BType = w.DType,
        BRow = w.Cols,
        BCol = 1,
        C = dx.Pointer<float>() + (long)start * dx.Cols,
        CRow = dx.Cols,
        M = end - start,
        N = w.Cols,
        K = dy.Cols,
        Accumulate = true,
    });

    /// <summary>dw += dy[rows]ᵀ · x[rows]</summary>
    private void AddGradWeight(Tensor dy, Tensor x, int start, int end, Tensor dw) => _gemm.Add(new Product
    {
        A = dy.Pointer<float>() + (long)start * dy.Cols,
        ARow = 1,
        ACol = dy.Cols,
        B = x.Pointer<float>() + (long)start * x.Cols,
        BType = DType.F32,
        BRow = x.Cols,
        BCol = 1,
        C = dw.Pointer<float>(),
        CRow = dw.Cols,
        M = dy.Cols,
        N = x.Cols,
        K = end - start,
        Accumulate = true,
    });
}
