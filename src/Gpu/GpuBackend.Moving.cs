using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void GatherRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Weight(x, x.Rows, y.Cols);
        SlotRange readable = Readable(range);
        (int from, int to) = Check.Slots(readable, y.Rows);
        Check.Indices(Readable(index), from, to, x.Rows);
        ElementView elements = Elements(x);
        SlotView slots = Slots(range, y.Rows);
        Step step = new()
        {
            A = elements.Floats,
            H = elements.Halves,
            I = View<int>(index),
            J = slots.Offsets,
            Y = View<float>(y),
            N = slots.Rows,
            P = slots.First,
            Q = slots.Count,
        };
        switch (x.DType)
        {
            case DType.F32: Rows<GatherRowsStep<F32>>(y.Rows, y.Cols, step); break;
            case DType.BF16: Rows<GatherRowsStep<BF16>>(y.Rows, y.Cols, step); break;
            default: Rows<GatherRowsStep<F16>>(y.Rows, y.Cols, step); break;
        }
    }

    public void ScatterAddRows(Tensor x, Tensor index, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Matrix(x, x.Rows, y.Cols);
        AddSlots(x, null, index, range, y);
    }

    public void WriteRows(Tensor x, Tensor index, Tensor y)
    {
        Check.Matrix(x, x.Rows, y.Cols);
        Check.Weight(y, y.Rows, y.Cols);
        Check.Indices(Readable(index), 0, x.Rows, y.Rows);
        ElementView elements = Elements(y);
        Step step = new() { A = View<float>(x), I = View<int>(index), Y = elements.Floats, H = elements.Halves };
        switch (y.DType)
        {
            case DType.F32: Rows<WriteRowsStep<F32>>(x.Rows, x.Cols, step); break;
            case DType.BF16: Rows<WriteRowsStep<BF16>>(x.Rows, x.Cols, step); break;
            default: Rows<WriteRowsStep<F16>>(x.Rows, x.Cols, step); break;
        }
    }

    public void Combine(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor y)
    {
        Check.F32(y);
        Check.Matrix(x, x.Rows, y.Cols);
        Check.Vector(weight, x.Rows);
        AddSlots(x, weight, token, range, y);
    }

    public void CombineGrad(Tensor x, Tensor weight, Tensor token, SlotRange range, Tensor dy, Tensor? dx, Tensor? dweight)
    {
        Check.F32(dy);
        Check.Matrix(x, x.Rows, dy.Cols);
        Check.Vector(weight, x.Rows);
        Check.Same(dx, x);
        if (dweight is not null)
            Check.Vector(dweight, x.Rows);
        (int from, int to) = Check.Slots(Readable(range), x.Rows);
        Check.Indices(Readable(token), from, to, dy.Rows);
        SlotView slots = Slots(range, x.Rows);
        Step step = new()
        {
            A = View<float>(x),
            B = View<float>(weight),
            C = View<float>(dy),
            I = View<int>(token),
            J = slots.Offsets,
            N = slots.Rows,
            P = slots.First,
            Q = slots.Count,
        };
        if (dx is not null)
            Rows<CombineGradStep>(x.Rows, x.Cols, step with { Y = View<float>(dx) });
        if (dweight is not null)
            Rows<CombineWeightGradStep>(x.Rows, x.Cols, step with { Y = View<float>(dweight) });
    }

    private void AddSlots(Tensor x, Tensor? weight, Tensor index, in SlotRange range, Tensor y)
    {
        SlotRange readable = Readable(range);
        (int from, int to) = Check.Slots(readable, x.Rows);
        Check.Indices(Readable(index), from, to, y.Rows);
        if (x.Rows > GroupSize || y.Rows > SmallItems)
        {
            AddSegments(x, weight, index, range, y);
            return;
        }
        SlotView slots = Slots(range, x.Rows);
        Rows<CombineStep>(y.Rows, y.Cols, new Step
        {
            A = View<float>(x),
            B = ViewOrNone<float>(weight),
            I = View<int>(index),
            J = slots.Offsets,
            Y = View<float>(y),
            N = slots.Rows,
            M = weight is null ? 0 : 1,
            P = slots.First,
            Q = slots.Count,
        });
    }
}

/// <summary>y[s] = x[index[s]] for the slots of a range</summary>
internal struct GatherRowsStep<TElement> : IStep where TElement : struct, IElement
{
    public static int Code => typeof(TElement) == typeof(F32) ? 36 : typeof(TElement) == typeof(BF16) ? 37 : 38;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        SlotView slots = SlotView.Of(s);
        if (item < SlotView.Start(slots) || item >= SlotView.End(slots))
            return;
        ElementView x = new() { Floats = s.A, Halves = s.H };
        long from = (long)s.I[item] * s.Cols, to = (long)item * s.Cols;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            s.Y[to + d] = TElement.At(x, from + d);
    }
}

/// <summary>y[index[t]] = x[t], rounded to y's type</summary>
internal struct WriteRowsStep<TElement> : IStep where TElement : struct, IElement
{
    public static int Code => typeof(TElement) == typeof(F32) ? 14 : typeof(TElement) == typeof(BF16) ? 43 : 44;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        ElementView y = new() { Floats = s.Y, Halves = s.H };
        long to = (long)s.I[item] * s.Cols;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            TElement.Store(y, to + d, s.A[(long)item * s.Cols + d]);
    }
}

/// <summary>
/// y[t] += Σ weight[s] · x[s] over the slots whose row is t, in the order of s, where slots are so few that each row's group looks at all of them: so nothing is
/// added atomically and every sum has one order. Of more slots, <see cref="SumSegmentsKernel"/>.
/// </summary>
internal struct CombineStep : IStep
{
    /// <summary>Where a mark for each thread stands, behind what sums take.</summary>
    private const int Marks = StepScratch.Floats / 2;

    public static int Code => 21;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        int end = SlotView.End(SlotView.Of(s));
        for (int s0 = SlotView.Start(SlotView.Of(s)); s0 < end; s0 += Group.DimX)
        {
            int slot = s0 + Group.IdxX;
            float mine = slot < end && s.I[slot] == item ? 1f : 0f;
            scratch[Marks + Group.IdxX] = mine;
            if (GroupMath.Sum(mine, scratch) == 0)
                continue;
            for (int i = 0; i < Group.DimX && s0 + i < end; i++)
                if (scratch[Marks + i] > 0)
                {
                    float weight = s.M == 0 ? 1 : s.B[s0 + i];
                    for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
                        s.Y[(long)item * s.Cols + d] += weight * s.A[(long)(s0 + i) * s.Cols + d];
                }
            Group.Barrier();
        }
    }
}

/// <summary>dx[s] += weight[s] · dy[token[s]]</summary>
internal struct CombineGradStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        if (item < SlotView.Start(SlotView.Of(s)) || item >= SlotView.End(SlotView.Of(s)))
            return;
        long row = (long)s.I[item] * s.Cols;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            s.Y[(long)item * s.Cols + d] += s.B[item] * s.C[row + d];
    }
}

/// <summary>dweight[s] += Σ_d x[s,d] · dy[token[s],d]</summary>
internal struct CombineWeightGradStep : IStep
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        if (item < SlotView.Start(SlotView.Of(s)) || item >= SlotView.End(SlotView.Of(s)))
            return;
        long row = (long)s.I[item] * s.Cols;
        float sum = 0;
        for (int d = Group.IdxX; d < s.Cols; d += Group.DimX)
            sum += s.A[(long)item * s.Cols + d] * s.C[row + d];
        sum = GroupMath.Sum(sum, scratch);
        if (Group.IdxX == 0)
            s.Y[item] += sum;
    }
}
