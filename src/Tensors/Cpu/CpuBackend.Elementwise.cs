using System.Numerics.Tensors;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void Copy(Tensor x, Tensor y)
    {
        Check.Copy(x, y, quantised: true);
        byte* from = x.Pointer<byte>(), to = y.Pointer<byte>();
        CopyJob job = new() { X = from, Y = to, Count = x.Count, From = x.DType, To = y.DType };
        _pool.Run(Pieces(x.Count, Piece), job);
    }

    public void Fill(Tensor y, float value)
    {
        Check.Weight(y, y.Rows, y.Cols);
        if (y.DType == DType.F32)
            Map(y, y, y, y, new FillMap { Value = value });
        else
            y.Host<ushort>().Fill(y.DType == DType.BF16 ? DTypes.ToBF16(value) : DTypes.ToF16(value));
    }

    public void Unary<TOp>(Tensor x, Tensor y) where TOp : struct, IUnary => Map(x, x, x, y, default(UnaryMap<TOp>));

    public void UnaryGrad<TOp>(Tensor x, Tensor dy, Tensor dx) where TOp : struct, IUnary => Map(x, dy, x, dx, default(UnaryGradMap<TOp>));

    public void Gated<TOp>(Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary => Map(a, b, a, y, default(GatedMap<TOp>));

    public void GatedGrad<TOp>(Tensor a, Tensor b, Tensor dy, Tensor? da, Tensor? db) where TOp : struct, IUnary
    {
        Check.F32(dy);
        foreach (Tensor? x in (ReadOnlySpan<Tensor?>)[a, b, da, db])
            if (x is not null)
                Check.Vector(x, dy.Count);
        _pool.Run(Pieces(dy.Count, Piece), new GatedGradJob<TOp>
        {
            A = a.Pointer<float>(),
            B = b.Pointer<float>(),
            Dy = dy.Pointer<float>(),
            Da = Floats(da),
            Db = Floats(db),
            Count = dy.Count,
        });
    }

    public void Add(Tensor a, Tensor b, Tensor y) => Map(a, b, a, y, default(AddMap));

    public void Mul(Tensor a, Tensor b, Tensor y) => Map(a, b, a, y, default(MulMap));

    public void MulAdd(Tensor a, Tensor b, Tensor y) => Map(a, b, a, y, default(MulAddMap));

    public void Axpy(float alpha, Tensor x, Tensor y) => Map(x, x, x, y, new AxpyMap { Alpha = alpha });

    /// <summary>y[i] = f(a[i], b[i], c[i], y[i]); who needs fewer inputs names one twice.</summary>
    private void Map<TMap>(Tensor a, Tensor b, Tensor c, Tensor y, TMap map) where TMap : unmanaged, IMap
    {
        Check.F32(y);
        Check.Vector(a, y.Count);
        Check.Vector(b, y.Count);
        Check.Vector(c, y.Count);
        _pool.Run(Pieces(y.Count, Piece), new MapJob<TMap>
        {
            A = a.Pointer<float>(),
            B = b.Pointer<float>(),
            C = c.Pointer<float>(),
            Y = y.Pointer<float>(),
            Count = y.Count,
            Map = map,
        });
    }

    private interface IMap
    {
        V Apply(V a, V b, V c, V y);
    }

    private struct MapJob<TMap> : IJob where TMap : unmanaged, IMap
    {
        public float* A, B, C, Y;
        public long Count;
        public TMap Map;

        public readonly void Run(int index, int worker)
        {
            TMap map = Map;
            long start = (long)index * Piece;
            int count = (int)Math.Min(Piece, Count - start), i = 0;
            float* a = A + start, b = B + start, c = C + start, y = Y + start;
            for (; i <= count - V.Count; i += V.Count)
                map.Apply(V.Load(a + i), V.Load(b + i), V.Load(c + i), V.Load(y + i)).Store(y + i);
            if (i < count)
            {
                int rest = count - i;
                V last = map.Apply(
                    Tail.Load<V>(a + i, rest), Tail.Load<V>(b + i, rest), Tail.Load<V>(c + i, rest), Tail.Load<V>(y + i, rest));
                Tail.Store(last, y + i, rest);
            }
        }
    }

    private struct FillMap : IMap
    {
        public float Value;
        public readonly V Apply(V a, V b, V c, V y) => V.Of(Value);
    }

    private struct UnaryMap<TOp> : IMap where TOp : struct, IUnary
    {
        public readonly V Apply(V a, V b, V c, V y) => TOp.Apply(a);
    }

    private struct UnaryGradMap<TOp> : IMap where TOp : struct, IUnary
    {
        public readonly V Apply(V a, V b, V c, V y) => V.MulAdd(b, TOp.Slope(a), y);
    }

    private struct GatedMap<TOp> : IMap where TOp : struct, IUnary
    {
        public readonly V Apply(V a, V b, V c, V y) => TOp.Apply(a) * b;
    }

    /// <summary>Both gradients in one pass: they read the same three tensors, and reading is most of the work.</summary>
    private struct GatedGradJob<TOp> : IJob where TOp : struct, IUnary
    {
        public float* A, B, Dy, Da, Db;
        public long Count;

        public readonly void Run(int index, int worker)
        {
            long start = (long)index * Piece, end = Math.Min(Count, start + Piece), i = start;
            for (; i <= end - V.Count; i += V.Count)
            {
                V a = V.Load(A + i), dy = V.Load(Dy + i);
                if (Da != null)
                    V.MulAdd(dy * V.Load(B + i), TOp.Slope(a), V.Load(Da + i)).Store(Da + i);
                if (Db != null)
                    V.MulAdd(dy, TOp.Apply(a), V.Load(Db + i)).Store(Db + i);
            }
            if (i == end)
                return;
            int rest = (int)(end - i);
            V lastA = Tail.Load<V>(A + i, rest), lastDy = Tail.Load<V>(Dy + i, rest);
            if (Da != null)
                Tail.Store(V.MulAdd(lastDy * Tail.Load<V>(B + i, rest), TOp.Slope(lastA), Tail.Load<V>(Da + i, rest)), Da + i, rest);
            if (Db != null)
                Tail.Store(V.MulAdd(lastDy, TOp.Apply(lastA), Tail.Load<V>(Db + i, rest)), Db + i, rest);
        }
    }

    private struct AddMap : IMap
    {
        public readonly V Apply(V a, V b, V c, V y) => a + b;
    }

    private struct MulMap : IMap
    {
        public readonly V Apply(V a, V b, V c, V y) => a * b;
    }

    private struct MulAddMap : IMap
    {
        public readonly V Apply(V a, V b, V c, V y) => V.MulAdd(a, b, y);
    }

    private struct AxpyMap : IMap
    {
        public float Alpha;
        public readonly V Apply(V a, V b, V c, V y) => V.MulAdd(V.Of(Alpha), a, y);
    }

    private struct CopyJob : IJob
    {
        public byte* X, Y;
        public long Count;
        public DType From, To;

        public readonly void Run(int index, int worker)
        {
            long start = (long)index * Piece;
            int count = (int)Math.Min(Piece, Count - start);
            Convert(X + From.Bytes(start), From, Y + To.Bytes(start), To, count);
        }
    }

    /// <summary>y = x, rounded to nearest where y's type is the narrower one.</summary>
    private static void Convert(void* x, DType from, void* y, DType to, int count)
    {
        if (from == to)
            Buffer.MemoryCopy(x, y, to.Bytes(count), to.Bytes(count));
        else if (to == DType.F32)
            Widen(x, from, (float*)y, count);
        else if (from == DType.F32 && to == DType.F16)
            TensorPrimitives.ConvertToHalf(new ReadOnlySpan<float>(x, count), new Span<Half>(y, count));
        else
            for (int i = 0; i < count; i++)
            {
                float value = from switch { DType.F32 => F32.At(x, i), DType.BF16 => BF16.At(x, i), _ => F16.At(x, i) };
                ((ushort*)y)[i] = to == DType.BF16 ? DTypes.ToBF16(value) : DTypes.ToF16(value);
            }
    }

    /// <summary>y = x as F32; x is of any type of weights.</summary>
    private static void Widen(void* x, DType dtype, float* y, int count)
    {
        if (dtype.IsQuantised())
            BlockRows<V>.Widen(dtype, (byte*)x, 0, count, y);
        else
            Packing.Along<V>(dtype, x, 0, 0, count, 1, y, count);
    }
}
