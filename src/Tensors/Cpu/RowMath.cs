using System.Runtime.CompilerServices;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Loops over one row that several kernels share. No vector that a loop carries lives on into a call, not even into the
/// rare one for the tail: the JIT would keep it in memory all along.
/// </summary>
internal static unsafe class RowMath<V> where V : struct, ILanes<V>
{
    /// <summary>Σ_d a[d] · b[d]</summary>
    public static float Dot(float* a, float* b, int d) => MatvecKernels<V>.Dot<F32>(a, b, 0, d);

    /// <summary>Σ_d a[d]</summary>
    public static float Sum(float* a, int d)
    {
        V sum = V.Of(0);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            sum += V.Load(a + i);
        float total = V.Sum(sum);
        for (; i < d; i++)
            total += a[i];
        return total;
    }

    /// <summary>Σ_d a[d] · b[d] · c[d]</summary>
    public static float Dot(float* a, float* b, float* c, int d)
    {
        V sum = V.Of(0);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            V.MulAdd(V.Load(a + i) * V.Load(b + i), V.Load(c + i), ref sum);
        float total = V.Sum(sum);
        for (; i < d; i++)
            total += a[i] * b[i] * c[i];
        return total;
    }

    /// <summary>max_d a[d]; −∞ for an empty row.</summary>
    public static float Max(float* a, int d)
    {
        V max = V.Of(float.NegativeInfinity);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            max = V.Higher(V.Load(a + i), max);
        float top = V.HorizontalMax(max);
        for (; i < d; i++)
            top = MathF.Max(top, a[i]);
        return top;
    }

    /// <summary>y[d] += alpha · x[d]</summary>
    public static void AddScaled(float alpha, float* x, float* y, int d)
    {
        V scale = V.Of(alpha);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            V.MulAdd(scale, V.Load(x + i), V.Load(y + i)).Store(y + i);
        if (i < d)
            Tail.Store(V.MulAdd(scale, Tail.Load<V>(x + i, d - i), Tail.Load<V>(y + i, d - i)), y + i, d - i);
    }

    /// <summary>y[d] = f(a[d]) · b[d]</summary>
    public static void Gated<TOp>(float* a, float* b, float* y, int d) where TOp : struct, IUnary
    {
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            (TOp.Apply(V.Load(a + i)) * V.Load(b + i)).Store(y + i);
        if (i < d)
            Tail.Store(TOp.Apply(Tail.Load<V>(a + i, d - i)) * Tail.Load<V>(b + i, d - i), y + i, d - i);
    }

    /// <summary>Of h = f(a) · b with gradient alpha · dh: a and b become their gradients; returns Σ_d h[d] · dh[d].</summary>
    public static float GatedGrad<TOp>(float* a, float* b, float* dh, float alpha, int d) where TOp : struct, IUnary
    {
        V scale = V.Of(alpha), sum = V.Of(0);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
        {
            V va = V.Load(a + i), vb = V.Load(b + i), f = TOp.Apply(va), g = V.Load(dh + i);
            V.MulAdd(f * vb, g, ref sum);
            (scale * g * vb * TOp.Slope(va)).Store(a + i);
            (scale * g * f).Store(b + i);
        }
        float total = V.Sum(sum);
        return i < d ? total + GatedGradTail<TOp>(a + i, b + i, dh + i, alpha, d - i) : total;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float GatedGradTail<TOp>(float* a, float* b, float* dh, float alpha, int d) where TOp : struct, IUnary
    {
        float* padded = stackalloc float[3 * 16];
        new Span<float>(padded, 3 * 16).Clear();
        Span<float> da = new(padded, d), db = new(padded + 16, d);
        new Span<float>(a, d).CopyTo(da);
        new Span<float>(b, d).CopyTo(db);
        new Span<float>(dh, d).CopyTo(new Span<float>(padded + 32, d));
        float sum = GatedGrad<TOp>(padded, padded + 16, padded + 32, alpha, V.Count);
        da.CopyTo(new Span<float>(a, d));
        db.CopyTo(new Span<float>(b, d));
        return sum;
    }

    /// <summary>y[d] *= alpha</summary>
    public static void Scale(float alpha, float* y, int d)
    {
        V scale = V.Of(alpha);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            (scale * V.Load(y + i)).Store(y + i);
        if (i < d)
            Tail.Store(scale * Tail.Load<V>(y + i, d - i), y + i, d - i);
    }

    /// <summary>y[d] = e^(x[d] − shift) for a shift that no x is above; returns the sum. y may be x.</summary>
    public static float Exp(float* x, float shift, float* y, int d)
    {
        V minus = V.Of(shift), sum = V.Of(0);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
        {
            V e = LanesMath.Decay(V.Load(x + i) - minus);
            e.Store(y + i);
            sum += e;
        }
        float total = V.Sum(sum);
        return i < d ? total + ExpTail(x + i, shift, y + i, d - i) : total;
    }

    /// <summary>y[d] += alpha · e^(x[d] − shift) for a shift that no x is above, but for rounding.</summary>
    public static void AddExp(float alpha, float* x, float shift, float* y, int d)
    {
        V minus = V.Of(shift), scale = V.Of(alpha);
        int i = 0;
        for (; i <= d - V.Count; i += V.Count)
            V.MulAdd(scale, LanesMath.Decay(V.Load(x + i) - minus), V.Load(y + i)).Store(y + i);
        if (i < d)
            Tail.Store(V.MulAdd(scale, LanesMath.Decay(Tail.Load<V>(x + i, d - i) - minus), Tail.Load<V>(y + i, d - i)), y + i, d - i);
    }

    /// <summary>ln Σ_d e^x[d], blocks added up in double because vocabularies are long; −∞ where every x is.</summary>
    public static float LogSumExp(float* x, int d)
    {
        const int Block = 2048;
        float max = Max(x, d), shift = float.IsNegativeInfinity(max) ? 0 : max;
        float* rest = stackalloc float[16];
        V minus = V.Of(shift);
        double total = 0;
        for (int start = 0; start < d; start += Block)
        {
            V sum = V.Of(0);
            int i = start, end = Math.Min(d, start + Block);
            for (; i <= end - V.Count; i += V.Count)
                sum += LanesMath.Decay(V.Load(x + i) - minus);
            total += V.Sum(sum);
            if (i < end)
                total += ExpTail(x + i, shift, rest, end - i);
        }
        return (float)(shift + Math.Log(total));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float ExpTail(float* x, float shift, float* y, int count)
    {
        V e = LanesMath.Decay(Tail.Load<V>(x, count, float.NegativeInfinity) - V.Of(shift));
        Tail.Store(e, y, count);
        return V.Sum(e);
    }
}
