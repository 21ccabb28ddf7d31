using System.Numerics;
using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void RowDot(Tensor a, Tensor? b, Tensor y)
    {
        Check.Same(b, a);
        Check.Vector(y, a.Rows);
        Matrix am = new(a), bm = new(b ?? a);
        for (int t = 0; t < a.Rows; t++)
        {
            double sum = 0;
            for (int d = 0; d < a.Cols; d++)
                sum += (double)am[t, d] * (b is null ? 1 : bm[t, d]);
            y.Floats[t] += (float)sum;
        }
    }

    public void ColumnSum(Tensor x, Tensor? w, Tensor y)
    {
        Check.F32(x);
        if (w is not null)
            Check.Vector(w, x.Rows);
        Check.Vector(y, x.Cols);
        Matrix xm = new(x);
        for (int d = 0; d < x.Cols; d++)
        {
            double sum = 0;
            for (int t = 0; t < x.Rows; t++)
                sum += (double)(w is null ? 1 : w.Floats[t]) * xm[t, d];
            y.Floats[d] += (float)sum;
        }
    }

    public void ScaleRows(Tensor x, Tensor s, Tensor y)
    {
        Check.Same(y, x);
        Check.Vector(s, x.Rows);
        Matrix xm = new(x), ym = new(y);
        for (int t = 0; t < y.Rows; t++)
            for (int d = 0; d < y.Cols; d++)
                ym[t, d] += s.Floats[t] * xm[t, d];
    }

    public void Outer(Tensor? a, Tensor? b, Tensor y)
    {
        Check.F32(y);
        if (a is not null)
            Check.Vector(a, y.Rows);
        if (b is not null)
            Check.Vector(b, y.Cols);
        Matrix ym = new(y);
        for (int t = 0; t < y.Rows; t++)
            for (int d = 0; d < y.Cols; d++)
                ym[t, d] += (a is null ? 1 : a.Floats[t]) * (b is null ? 1 : b.Floats[d]);
    }

    public void Softmax(Tensor x, Tensor y)
    {
        Check.Same(y, x);
        Matrix xm = new(x), ym = new(y);
        for (int t = 0; t < x.Rows; t++)
        {
            double lse = LogSumExp<float>(xm[t]);
            for (int d = 0; d < x.Cols; d++)
                ym[t, d] = (float)Math.Exp(xm[t, d] - lse);
        }
    }

    public void SoftmaxGrad(Tensor y, Tensor dy, Tensor dx)
    {
        Check.Same(dy, y);
        Check.Same(dx, y);
        Matrix ym = new(y), dym = new(dy), dxm = new(dx);
        for (int t = 0; t < y.Rows; t++)
        {
            double dot = Dot(dym[t], ym[t]);
            for (int d = 0; d < y.Cols; d++)
                dxm[t, d] += (float)(ym[t, d] * (dym[t, d] - dot));
        }
    }

    public void LogSumExp(Tensor x, Tensor y)
    {
        Check.F32(x);
        Check.Vector(y, x.Rows);
        Matrix xm = new(x);
        for (int t = 0; t < x.Rows; t++)
            y.Floats[t] = (float)LogSumExp<float>(xm[t]);
    }

    public void LogSumExpGrad(Tensor x, Tensor y, Tensor dy, Tensor dx)
    {
        Check.Same(dx, x);
        Check.Vector(y, x.Rows);
        Check.Vector(dy, x.Rows);
        Matrix xm = new(x), dxm = new(dx);
        for (int t = 0; t < x.Rows; t++)
            for (int d = 0; d < x.Cols; d++)
                dxm[t, d] += (float)(dy.Floats[t] * Math.Exp((double)xm[t, d] - y.Floats[t]));
    }

    public void RmsNorm(Tensor x, Tensor w, float eps, Tensor y, Tensor r)
    {
        Check.Same(y, x);
        int rows = Check.Vectors(x, w, r), n = (int)w.Count;
        Matrix xm = new(x, n), ym = new(y, n);
        for (int t = 0; t < rows; t++)
        {
            double meanSquare = Dot(xm[t], xm[t]) / n;
            double scale = 1 / Math.Sqrt(meanSquare + eps);
            for (int d = 0; d < n; d++)
                ym[t, d] = (float)(xm[t, d] * scale * w.Floats[d]);
            r.Floats[t] = (float)scale;
        }
    }

    public void RmsNormGrad(Tensor x, Tensor w, Tensor r, Tensor dy, Tensor? dx, Tensor? dw)
    {
        Check.Same(dy, x);
        Check.Same(dx, x);
        int rows = Check.Vectors(x, w, r), n = (int)w.Count;
        if (dw is not null)
            Check.Vector(dw, n);
        Matrix xm = new(x, n), dym = new(dy, n);
        if (dx is not null)
        {
            Matrix dxm = new(dx, n);
            for (int t = 0; t < rows; t++)
            {
                double scale = r.Floats[t];
                double mean = 0;
                for (int d = 0; d < n; d++)
                    mean += (double)dym[t, d] * w.Floats[d] * xm[t, d] / n;
                for (int d = 0; d < n; d++)
                    dxm[t, d] += (float)(scale * ((double)dym[t, d] * w.Floats[d] - xm[t, d] * scale * scale * mean));
            }
        }
        if (dw is not null)
            for (int d = 0; d < n; d++)
            {
                double sum = 0;
                for (int t = 0; t < rows; t++)
                    sum += (double)dym[t, d] * xm[t, d] * r.Floats[t];
                dw.Floats[d] += (float)sum;
            }
    }

    public void AddColumns(Tensor x, HeadColumns from, HeadColumns to, int width, Tensor y)
    {
        int heads = Check.Columns(x, from, to, width, y);
        Matrix xm = new(x), ym = new(y);
        for (int t = 0; t < x.Rows; t++)
            for (int h = 0; h < heads; h++)
                for (int j = 0; j < width; j++)
                    ym[t, Column(to, h) + j] += xm[t, Column(from, h) + j];
    }

    /// <summary>A lone head stands for every h.</summary>
    private static int Column(HeadColumns c, int h) => (c.Heads == 1 ? 0 : h * c.HeadDim) + c.First;

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
            sum += (double)a[i] * b[i];
        return sum;
    }

    /// <summary>ln Σ e^x, the largest x taken out first so that no term overflows; −∞ when every x is −∞.</summary>
    private static double LogSumExp<T>(ReadOnlySpan<T> x) where T : IFloatingPoint<T>
    {
        double max = double.NegativeInfinity;
        foreach (T v in x)
            max = Math.Max(max, double.CreateChecked(v));
        if (double.IsNegativeInfinity(max))
            return max;
        double sum = 0;
        foreach (T v in x)
            sum += Math.Exp(double.CreateChecked(v) - max);
        return max + Math.Log(sum);
    }
}
