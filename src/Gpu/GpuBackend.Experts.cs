using ILGPU;
using ILGPU.Runtime;
using MoeFromScratch.Gpu.Ladder;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void GatedExperts<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor y) where TOp : struct, IUnary
    {
        ExpertSlots readable = _checked ? slots with { Token = Readable(slots.Token), Range = Readable(slots.Range) } : slots;
        Check.GatedExperts(x, readable, w, a, b, y);
        if (w.Count == 0 || a.Rows == 0)
            return;
        using Stacked gate = Stack(w.Gate), up = Stack(w.Up), down = Stack(w.Down);
        Check.That(gate.DType == up.DType && up.DType == down.DType, "a device wants the three matrices of an expert in one type");
        if (x.Rows <= FewRows)
            FewExperts<TOp>(x, slots, gate, up, down, a, b, y);
        else if (_cores is not null && MayRound(w.Gate) && MayRound(w.Up) && MayRound(w.Down) && gate.IsAligned && up.IsAligned && down.IsAligned)
            ExpertsOnCores<TOp>(_cores, x, slots, gate, up, down, a, b, y);
        else
            ManyExperts<TOp>(x, slots, gate, up, down, a, b, y);
    }

    /// <summary>Gate, up, down with the gating in its input, and the sums of each token's slots.</summary>
    private void ManyExperts<TOp>(Tensor x, in ExpertSlots slots, in Stacked gate, in Stacked up, in Stacked down, Tensor a, Tensor b, Tensor y)
        where TOp : struct, IUnary
    {
        Multiply<ExpertRows, GatheredInput>(gate.DType, Product(Picked(x, slots), gate.Matrix, slots.Range, a));
        Multiply<ExpertRows, GatheredInput>(up.DType, Product(Picked(x, slots), up.Matrix, slots.Range, b));
        Tensor results = this.New([a.Rows, y.Cols]);
        Multiply<ExpertRows, GatedInput<TOp>>(down.DType, Product(Middle(a, b), down.Matrix, slots.Range, results));
        Combine(results, slots.Weight, slots.Token, slots.Range, y);
        this.Free(results);
    }

    /// <summary>Tensor cores take what lies in memory: the tokens' rows and the gated middle are written out for them.</summary>
    private void ExpertsOnCores<TOp>(Rung rung, Tensor x, in ExpertSlots slots, in Stacked gate, in Stacked up, in Stacked down, Tensor a, Tensor b, Tensor y)
        where TOp : struct, IUnary
    {
        Tensor rows = this.New([a.Rows, x.Cols]), hidden = this.New(a.Shape), results = this.New([a.Rows, y.Cols]);
        GatherRows(x, slots.Token, slots.Range, rows);
        Climb(rung, rows, slots.Range, gate, a);
        Climb(rung, rows, slots.Range, up, b);
        SlotView range = Slots(slots.Range, a.Rows);
        Rows<GatedSlotsStep<TOp>>(a.Rows, a.Cols, new Step { A = View<float>(a), B = View<float>(b), Y = View<float>(hidden), J = range.Offsets, N = range.Rows, P = range.First, Q = range.Count });
        Climb(rung, hidden, slots.Range, down, results);
        Combine(results, slots.Weight, slots.Token, slots.Range, y);
        foreach (Tensor tensor in new[] { rows, hidden, results })
            this.Free(tensor);
    }

    /// <summary>The tokens' rows of x for the slots.</summary>
    private MatrixView Picked(Tensor x, in ExpertSlots slots) => Matrix(x) with { Index = View<int>(slots.Token) };

    /// <summary>f(a) · b for the slots.</summary>
    private MatrixView Middle(Tensor a, Tensor b) => Matrix(a) with { Gated = View<float>(b), IsAligned = IsAligned(a, a.Cols) && IsAligned(b, b.Cols) };

    /// <summary>Two launches: hidden units, a warp for each of every slot; outputs, a warp for each of every token, over its slots.</summary>
    private void FewExperts<TOp>(Tensor x, in ExpertSlots slots, in Stacked gate, in Stacked up, in Stacked down, Tensor a, Tensor b, Tensor y)
        where TOp : struct, IUnary
    {
        Tensor hidden = this.New(a.Shape);
        ExpertsArgs args = new()
        {
            X = View<float>(x),
            A = View<float>(a),
            B = View<float>(b),
            H = View<float>(hidden),
            Y = View<float>(y),
            Weight = View<float>(slots.Weight),
            Token = View<int>(slots.Token),
            Slots = Slots(slots.Range, a.Rows),
            Gate = gate.View,
            Up = up.View,
            Down = down.View,
            GateDistance = gate.Distance,
            UpDistance = up.Distance,
            DownDistance = down.Distance,
            D = x.Cols,
            F = a.Cols,
            IsAligned = IsAligned(x, x.Cols) && gate.IsAligned && up.IsAligned,
            DownIsAligned = a.Cols % 4 == 0 && down.IsAligned,
        };
        int warps = Math.Max(1, GroupSize / _accelerator.WarpSize);
        Index3D into = new((a.Cols + warps - 1) / warps, a.Rows, 1), outOf = new((y.Cols + warps - 1) / warps, y.Rows, 1);
        switch (gate.DType)
        {
            case DType.F32: Both<F32>(); break;
            case DType.BF16: Both<BF16>(); break;
            default: Both<F16>(); break;
        }
        this.Free(hidden);

        void Both<TWeight>() where TWeight : struct, IWeight
        {
            Launch<HiddenUnitsKernel<TOp, TWeight>, ExpertsArgs>(into, GroupSize, args);
            Launch<ExpertOutputsKernel<TWeight>, ExpertsArgs>(outOf, GroupSize, args);
        }
    }

    /// <summary>
    /// Matrices of equal shape and type, reachable from one view at equal distances: as they are, where they lie so; else their storages are
    /// moved behind each other, once; else, where that cannot be, a copy for this one use.
    /// </summary>
    private Stacked Stack(ReadOnlySpan<Tensor> w)
    {
        if (w.Length == 0)
            return default;
        long bytes = w[0].Bytes;
        if (Distance(w) is not { } distance)
        {
            if (CanMove(w))
            {
                Flush();
                DeviceStorage[] storages = new DeviceStorage[w.Length];
                for (int i = 0; i < w.Length; i++)
                    storages[i] = _memory.Mine(w[i].Storage);
                _memory.Stack(storages);
                distance = storages[0].Bytes;
            }
            else
                return StackCopies(w);
        }
        return Stacked(w, _memory.Mine(w[0].Storage).View(w[0].ByteOffset, (w.Length - 1) * distance + bytes), distance, null);
    }

    private Stacked StackCopies(ReadOnlySpan<Tensor> w)
    {
        foreach (Tensor one in w)
            Check.That(one.DType == w[0].DType, "a device wants the matrices of a bank in one type");
        long distance = (w[0].Bytes + 15) & ~15;
        DeviceStorage copies = _memory.Rent(w.Length * distance);
        Flush();
        for (int i = 0; i < w.Length; i++)
            if (w[i].Bytes > 0)
                copies.View(i * distance, w[i].Bytes).CopyFrom(_accelerator.DefaultStream, View<byte>(w[i]));
        return Stacked(w, copies.View(0, w.Length * distance), distance, copies);
    }

    private Stacked Stacked(ReadOnlySpan<Tensor> w, ArrayView<byte> view, long distance, DeviceStorage? copies)
    {
        DType type = w[0].DType;
        bool floats = type == DType.F32;
        bool aligned = w[0].Cols % 4 == 0 && distance % 16 == 0 && (copies is not null || (w[0].ByteOffset + _memory.Mine(w[0].Storage).Start) % 16 == 0);
        return new Stacked(_memory, copies)
        {
            View = new ElementView { Floats = floats ? view.Cast<float>() : ArrayView<float>.Empty, Halves = floats ? ArrayView<ushort>.Empty : view.Cast<ushort>() },
            Distance = distance / type.Size(),
            Cols = w[0].Cols,
            DType = type,
            IsAligned = aligned,
        };
    }

    /// <summary>Bytes from each matrix to the next, if they are the same throughout.</summary>
    private long? Distance(ReadOnlySpan<Tensor> w)
    {
        DeviceStorage first = _memory.Mine(w[0].Storage);
        long start = first.Start + w[0].ByteOffset, distance = w[0].Bytes;
        for (int i = 1; i < w.Length; i++)
        {
            DeviceStorage storage = _memory.Mine(w[i].Storage);
            long at = storage.Start + w[i].ByteOffset - start;
            if (i == 1)
                distance = at;
            if (w[i].DType != w[0].DType || !storage.SharesBufferWith(first) || at != i * distance || distance < w[0].Bytes || distance % w[0].DType.Size() != 0)
                return null;
        }
        return distance;
    }

    private bool CanMove(ReadOnlySpan<Tensor> w)
    {
        for (int i = 0; i < w.Length; i++)
        {
            DeviceStorage storage = _memory.Mine(w[i].Storage);
            if (storage.IsStacked || storage.Bytes != _memory.Mine(w[0].Storage).Bytes || w[i].ByteOffset != w[0].ByteOffset || w[i].DType != w[0].DType)
                return false;
            for (int j = 0; j < i; j++)
                if (w[j].Storage == w[i].Storage)
                    return false;
        }
        return true;
    }
}

/// <summary>Matrices at equal distances; copies, if it took some, go back when it is disposed of.</summary>
internal readonly struct Stacked(DeviceMemory memory, DeviceStorage? copies) : IDisposable
{
    public ElementView View { get; init; }
    public long Distance { get; init; }
    public int Cols { get; init; }
    public DType DType { get; init; }
    public bool IsAligned { get; init; }

    public MatrixView Matrix => new() { Elements = View, Distance = Distance, Cols = Cols, IsAligned = IsAligned };

    public void Dispose()
    {
        if (copies is not null)
            memory.Return(copies);
    }
}

/// <summary>A bank of gated experts at work on few tokens.</summary>
public struct ExpertsArgs
{
    public ArrayView<float> X, A, B, H, Y, Weight;
    public ArrayView<int> Token;
    public SlotView Slots;
    public ElementView Gate, Up, Down;
    public long GateDistance, UpDistance, DownDistance;
    public int D, F;
    public Flag IsAligned, DownIsAligned;
}

/// <summary>a[s, f] = x[token[s]] · gate[f], b[s, f] = x[token[s]] · up[f] and h = f(a) · b: a warp for each.</summary>
internal struct HiddenUnitsKernel<TOp, TWeight> : IKernel<ExpertsArgs> where TOp : struct, IUnary where TWeight : struct, IWeight
{
    public static void Run(ExpertsArgs a)
    {
        int s = Grid.IdxY, f = Grid.IdxX * (Group.DimX / Warp.WarpSize) + Group.IdxX / Warp.WarpSize;
        if (s < SlotView.Start(a.Slots) || s >= SlotView.End(a.Slots) || f >= a.F)
            return;
        int expert = SlotExpert.Of(a.Slots, s), token = a.Token[s];
        float left = Dots.Rows<TWeight>(a.X, token, 1, a.D, a.Gate, expert * a.GateDistance + (long)f * a.D, a.IsAligned).S0;
        float right = Dots.Rows<TWeight>(a.X, token, 1, a.D, a.Up, expert * a.UpDistance + (long)f * a.D, a.IsAligned).S0;
        if (Warp.LaneIdx > 0)
            return;
        long i = (long)s * a.F + f;
        a.A[i] = left;
        a.B[i] = right;
        a.H[i] = TOp.Apply(new Lanes1(left)).Value * right;
    }
}

/// <summary>y[s] = f(a[s]) · b[s] for the slots of a range</summary>
internal struct GatedSlotsStep<TOp> : IStep where TOp : struct, IUnary
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        if (item < SlotView.Start(SlotView.Of(s)) || item >= SlotView.End(SlotView.Of(s)))
            return;
        long row = (long)item * s.Cols;
        for (int f = Group.IdxX; f < s.Cols; f += Group.DimX)
            s.Y[row + f] = TOp.Apply(new Lanes1(s.A[row + f])).Value * s.B[row + f];
    }
}

/// <summary>y[t, d] += Σ weight[s] · h[s] · down[d] over the slots of token t, in their order: a warp for each.</summary>
internal struct ExpertOutputsKernel<TWeight> : IKernel<ExpertsArgs> where TWeight : struct, IWeight
{
    public static void Run(ExpertsArgs a)
    {
        int t = Grid.IdxY, d = Grid.IdxX * (Group.DimX / Warp.WarpSize) + Group.IdxX / Warp.WarpSize;
        if (d >= a.D)
            return;
        int end = SlotView.End(a.Slots);
        float sum = 0;
        for (int s = SlotView.Start(a.Slots); s < end; s++)
            if (a.Token[s] == t)
                sum += a.Weight[s] * Dots.Rows<TWeight>(a.H, s, 1, a.F, a.Down, SlotExpert.Of(a.Slots, s) * a.DownDistance + (long)d * a.F, a.DownIsAligned).S0;
        if (Warp.LaneIdx == 0)
            a.Y[(long)t * a.D + d] += sum;
    }
}

internal static class SlotExpert
{
    /// <summary>The number of the expert, within the range, that slot s belongs to.</summary>
    public static int Of(SlotView slots, int s)
    {
        int e = 0, end = slots.Count;      // offsets[e] ≤ s < offsets[end]
        while (end - e > 1)
        {
            int middle = (e + end) >> 1;
            if (slots.Offsets[slots.First + middle] <= s)
                e = middle;
            else
                end = middle;
        }
        return e;
    }
}
