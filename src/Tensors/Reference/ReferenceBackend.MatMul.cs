using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void Linear(Tensor x, Tensor w, Tensor y) => Linear(x, w, y, 0, x.Rows);

    public void LinearGradInput(Tensor dy, Tensor w, Tensor dx) => LinearGradInput(dy, w, dx, 0, dy.Rows);

    public void LinearGradWeight(Tensor dy, Tensor x, Tensor dw) => LinearGradWeight(dy, x, dw, 0, x.Rows);

    /// <summary>y = x · wᵀ for the rows from … to − 1; so do an expert's slots.</summary>
    private static void Linear(Tensor x, Tensor w, Tensor y, int from, int to)
    {
        Check.Weight(w, y.Cols, x.Cols);
        Check.Matrix(x, x.Rows, w.Cols);
        Check.Matrix(y, x.Rows, w.Rows);
        Matrix xm = new(x), ym = new(y);
        WeightMatrix wm = new(w);
        for (int t = from; t < to; t++)
            for (int n = 0; n < w.Rows; n++)
            {
                double sum = 0;
                for (int d = 0; d < w.Cols; d++)
                    sum += (double)xm[t, d] * wm[n, d];
                ym[t, n] = (float)sum;
            }
    }

    /// <summary>dx += dy · w for the rows from … to − 1.</summary>
    private static void LinearGradInput(Tensor dy, Tensor w, Tensor dx, int from, int to)
    {
        Check.Weight(w, dy.Cols, dx.Cols);
        Check.Matrix(dy, dy.Rows, w.Rows);
        Check.Matrix(dx, dy.Rows, w.Cols);
        Matrix dym = new(dy), dxm = new(dx);
        WeightMatrix wm = new(w);
        for (int t = from; t < to; t++)
            for (int d = 0; d < w.Cols; d++)
            {
                double sum = 0;
                for (int n = 0; n < w.Rows; n++)
                    sum += (double)dym[t, n] * wm[n, d];
                dxm[t, d] += (float)sum;
            }
    }

    /// <summary>dw += dyᵀ · x over the rows from … to − 1.</summary>
    private static void LinearGradWeight(Tensor dy, Tensor x, Tensor dw, int from, int to)
    {
        Check.F32(dw);
        Check.Matrix(dy, x.Rows, dw.Rows);
        Check.Matrix(x, x.Rows, dw.Cols);
        Matrix dym = new(dy), xm = new(x), dwm = new(dw);
        for (int n = 0; n < dw.Rows; n++)
            for (int d = 0; d < dw.Cols; d++)
            {
                double sum = 0;
                for (int t = from; t < to; t++)
                    sum += (double)dym[t, n] * xm[t, d];
                dwm[n, d] += (float)sum;
            }
    }
}
