using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Tensors;

internal sealed unsafe partial class CpuBackend<V>
{
    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.AnyWeight(x, x.Rows, y.Cols);
        Check.F32(y);
        (int start, int end) = Check.Slots(range, y.Rows);
        Check.Indices(index, start, end, x.Rows);
        Rows(start, end, y.Cols, new GatherRow
        {
            X = x.Pointer<byte>(),
            DType = x.DType,
            Index = index.Pointer<int>(),
            Y = y.Pointer<float>(),
            D = y.Cols,
        });
    }

    public void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y) => ScatterAdd(x, null, index, range, y);

    public void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y)
    {
        Check.Vector(weight, x.Rows);
        ScatterAdd(x, weight, token, range, y);
    }

    public void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight)
    {
        Check.Same(dx, x);
        Check.Vector(weight, x.Rows);
        Check.Matrix(dy, dy.Rows, x.Cols);
        if (dweight is not null)
            Check.Vector(dweight, x.Rows);
        (int start, int end) = Check.Slots(range, x.Rows);
        Check.Indices(token, start, end, dy.Rows);
        Rows(start, end, 2L * x.Cols, new CombineGradRow
        {
            X = x.Pointer<float>(),
            Weight = weight.Pointer<float>(),
            Token = token.Pointer<int>(),
            Dy = dy.Pointer<float>(),
            Dx = Floats(dx),
            Dweight = Floats(dweight),
            D = x.Cols,
        });
    }

    public void WriteRows(Tensor x, Tensor index, Tensor y)
    {
        Check.F32(x);
        Check.Weight(y, y.Rows, x.Cols);
        Check.Ints(index, x.Rows);
        Check.Indices(index, 0, x.Rows, y.Rows);
        Columns(x.Cols, x.Rows, new WriteColumns
        {
            X = x.Pointer<float>(),
            Index = index.Pointer<int>(),
            Y = y.Pointer<byte>(),
            Type = y.DType,
            Count = x.Rows,
            D = x.Cols,
        });
    }

    public void AddColumns(Tensor x, HeadColumns from, HeadColumns to, int width, Tensor y)
    {
        int heads = Check.Columns(x, from, to, width, y);
        Rows(0, x.Rows, (long)heads * width, new AddColumnsRow
        {
            X = x.Pointer<float>() + from.First,
            Y = y.Pointer<float>() + to.First,
            Kx = from.Heads == 1 ? 0 : from.HeadDim,
            Ky = to.Heads == 1 ? 0 : to.HeadDim,
            Dx = x.Cols,
            Dy = y.Cols,
            Heads = heads,
            Width = width,
        });
    }

    private void ScatterAdd(Tensor x, Tensor? weight, Tensor index, in SlotRange range, Tensor y)
    {
        Check.F32(x);
        Check.Matrix(y, y.Rows, x.Cols);
        (int start, int end) = Check.Slots(range, x.Rows);
        Check.Indices(index, start, end, y.Rows);
        Columns(x.Cols, end - start, new ScatterAddColumns
        {
            X = x.Pointer<float>(),
            Weight = Floats(weight),
            Index = index.Pointer<int>(),
            Y = y.Pointer<float>(),
            Start = start,
            End = end,
            D = x.Cols,
        });
    }

    private struct GatherRow : IRow
    {
        public byte* X;
        public int* Index;
        public float* Y;
        public DType DType;
        public int D;

        public readonly void Row(long row, int worker) => Widen(X + Index[row] * DType.Bytes(D), DType, Y + row * D, D);
    }

    /// <summary>Two slots may name one row, so rows cannot be shared out; columns can, and each keeps the order of the slots.</summary>
    private struct ScatterAddColumns : IColumns
    {
        public float* X, Weight, Y;
        public int* Index;
        public int Start, End, D;

        public readonly void Columns(int first, int end)
        {
            for (long s = Start; s < End; s++)
                RowMath<V>.AddScaled(Weight == null ? 1 : Weight[s], X + s * D + first, Y + (long)Index[s] * D + first, end - first);
        }
    }

    private struct AddColumnsRow : IRow
    {
        public float* X, Y;
        public int Kx, Ky, Dx, Dy, Heads, Width;

        public readonly void Row(long row, int worker)
        {
            float* x = X + row * Dx, y = Y + row * Dy;
            for (int h = 0; h < Heads; h++, x += Kx, y += Ky)
                if (Width >= V.Count)
                    RowMath<V>.AddScaled(1, x, y, Width);
                else
                    for (int j = 0; j < Width; j++)
                        y[j] += x[j];
        }
    }

    private struct WriteColumns : IColumns
    {
        public float* X;
        public byte* Y;
        public DType Type;
        public int* Index;
        public int Count, D;

        public readonly void Columns(int first, int end)
        {
            for (long t = 0; t < Count; t++)
                Convert(X + t * D + first, DType.F32, Y + ((long)Index[t] * D + first) * Type.Size(), Type, end - first);
        }
    }

    private struct CombineGradRow : IRow
    {
        public float* X, Weight, Dy, Dx, Dweight;
        public int* Token;
        public int D;

        public readonly void Row(long row, int worker)
        {
            float* dy = Dy + (long)Token[row] * D;
            if (Dx != null)
                RowMath<V>.AddScaled(Weight[row], dy, Dx + row * D, D);
            if (Dweight != null)
                Dweight[row] += RowMath<V>.Dot(X + row * D, dy, D);
        }
    }
}
