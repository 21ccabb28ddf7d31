using MoeFromScratch.Tensors.Reference;

namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept)
    {
        Check.Same(kept, mask);
        Check.Same(scores, mask);
        Check.Room(room, mask.Cols);
        Matrix chosen = new(mask), stays = new(kept);
        kept.Floats.Clear();
        for (int e = 0; e < mask.Cols; e++)
            for (int i = 0; i < room[e]; i++)
            {
                int best = -1;
                for (int t = 0; t < mask.Rows; t++)
                    if (chosen[t, e] > 0 && stays[t, e] == 0 && (best < 0 || (scores is not null && Higher(scores, e, t, best))))
                        best = t;
                if (best < 0)
                    break;
                stays[best, e] = 1;
            }
    }

    public void BandSoftmax(Tensor x, Tensor mask, float band, Tensor y)
    {
        Check.Same(mask, x);
        Check.Same(y, x);
        Matrix xm = new(x), chosen = new(mask), ym = new(y);
        for (int t = 0; t < x.Rows; t++)
            for (int i = 0; i < x.Cols; i++)
                ym[t, i] = chosen[t, i] > 0 ? (float)(1 / BandSum(xm[t], i, band)) : 0;
    }

    public void BandSoftmaxGrad(Tensor x, Tensor mask, float band, Tensor y, Tensor dy, Tensor dx)
    {
        Check.Same(mask, x);
        Check.Same(y, x);
        Check.Same(dy, x);
        Check.Same(dx, x);
        Matrix xm = new(x), chosen = new(mask), ym = new(y), dym = new(dy), dxm = new(dx);
        for (int t = 0; t < x.Rows; t++)
            for (int i = 0; i < x.Cols; i++)
            {
                if (!(chosen[t, i] > 0))
                    continue;
                double g = (double)dym[t, i] * ym[t, i], sum = BandSum(xm[t], i, band);
                for (int j = 0; j < x.Cols; j++)
                    if (InBand(xm[t], i, j, band))
                        dxm[t, j] += (float)(g * ((i == j ? 1 : 0) - Math.Exp((double)xm[t, j] - xm[t, i]) / sum));
            }
    }

    private static bool Higher(Tensor scores, int expert, int a, int b)
    {
        Matrix s = new(scores);
        return s[a, expert] > s[b, expert];
    }

    /// <summary>Σ_j e^(x_j − x_i) over the band below i.</summary>
    private static double BandSum(ReadOnlySpan<float> x, int i, float band)
    {
        double sum = 0;
        for (int j = 0; j < x.Length; j++)
            if (InBand(x, i, j, band))
                sum += Math.Exp((double)x[j] - x[i]);
        return sum;
    }

    /// <summary>Two zeros, whose relative distance is 0 / 0, count as near.</summary>
    private static bool InBand(ReadOnlySpan<float> x, int i, int j, float band)
    {
        bool after = x[j] < x[i] || (x[j] == x[i] && j >= i);
        return after && !((x[i] - x[j]) / MathF.Max(MathF.Abs(x[i]), MathF.Abs(x[j])) > band);
    }
}
