namespace MoeFromScratch.Tensors;

public sealed partial class ReferenceBackend
{
    public void Unary<TOp>(Tensor x, Tensor y) where TOp : struct, IUnary
    {
        Check.F32(y);
        Check.Vector(x, y.Count);
        Span<float> xv = x.Floats, yv = y.Floats;
        for (int i = 0; i < yv.Length; i++)
            yv[i] = F<TOp>(xv[i]);
    }

    public void UnaryGrad<TOp>(Tensor x, Tensor dy, Tensor dx) where TOp : struct, IUnary
    {
        Check.F32(dx);
        Check.Vector(x, dx.Count);
        Check.Vector(dy, dx.Count);
        Span<float> xv = x.Floats, dyv = dy.Floats, dxv = dx.Floats;
        for (int i = 0; i < dxv.Length; i++)
            dxv[i] += dyv[i] * Slope<TOp>(xv[i]);
    }

    public void Gated<TOp>(Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary
    {
        Check.F32(y);
        Check.Vector(a, y.Count);
        Check.Vector(b, y.Count);
        Span<float> av = a.Floats, bv = b.Floats, yv = y.Floats;
        for (int i = 0; i < yv.Length; i++)
            yv[i] = F<TOp>(av[i]) * bv[i];
    }

    public void GatedGrad<TOp>(Tensor a, Tensor b, Tensor dy, Tensor? da, Tensor? db) where TOp : struct, IUnary
    {
        Check.F32(dy);
        Check.Vector(a, dy.Count);
        Check.Vector(b, dy.Count);
        if (da is not null)
            Check.Vector(da, dy.Count);
        if (db is not null)
            Check.Vector(db, dy.Count);
        Span<float> av = a.Floats, bv = b.Floats, dyv = dy.Floats;
        if (da is not null)
            for (int i = 0; i < dyv.Length; i++)
                da.Floats[i] += dyv[i] * bv[i] * Slope<TOp>(av[i]);
        if (db is not null)
            for (int i = 0; i < dyv.Length; i++)
                db.Floats[i] += dyv[i] * F<TOp>(av[i]);
    }

    public void Add(Tensor a, Tensor b, Tensor y)
    {
        Check.F32(y);
        Check.Vector(a, y.Count);
        Check.Vector(b, y.Count);
        Span<float> av = a.Floats, bv = b.Floats, yv = y.Floats;
        for (int i = 0; i < yv.Length; i++)
            yv[i] = av[i] + bv[i];
    }

    public void Mul(Tensor a, Tensor b, Tensor y)
    {
        Check.F32(y);
        Check.Vector(a, y.Count);
        Check.Vector(b, y.Count);
        Span<float> av = a.Floats, bv = b.Floats, yv = y.Floats;
        for (int i = 0; i < yv.Length; i++)
            yv[i] = av[i] * bv[i];
    }

    public void MulAdd(Tensor a, Tensor b, Tensor y)
    {
        Check.F32(y);
        Check.Vector(a, y.Count);
        Check.Vector(b, y.Count);
        Span<float> av = a.Floats, bv = b.Floats, yv = y.Floats;
        for (int i = 0; i < yv.Length; i++)
            yv[i] += av[i] * bv[i];
    }

    public void Axpy(float alpha, Tensor x, Tensor y)
    {
        Check.F32(y);
        Check.Vector(x, y.Count);
        Span<float> xv = x.Floats, yv = y.Floats;
        for (int i = 0; i < yv.Length; i++)
            yv[i] += alpha * xv[i];
    }

    private static float F<TOp>(float x) where TOp : struct, IUnary => TOp.Apply(new Lanes1(x)).Value;

    private static float Slope<TOp>(float x) where TOp : struct, IUnary => TOp.Slope(new Lanes1(x)).Value;
}
