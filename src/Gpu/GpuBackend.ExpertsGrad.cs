using ILGPU;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

public sealed partial class GpuBackend
{
    public void GatedExpertsGrad<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor dy,
        Tensor? dx, Tensor? dweight, in GatedWeights<Tensor?> dw) where TOp : struct, IUnary
    {
        ExpertSlots readable = _checked ? slots with { Token = Readable(slots.Token), Range = Readable(slots.Range) } : slots;
        Check.GatedExperts(x, readable, w, a, b, dy);
        Check.GatedExpertsGrad(x, readable, w, dx, dweight, dw);
        if (w.Count == 0 || a.Rows == 0)
            return;
        using Stacked gate = Stack(w.Gate), up = Stack(w.Up), down = Stack(w.Down);
        SlotView slotView = Slots(slots.Range, a.Rows);

        Tensor dh = this.New(a.Shape);
        MultiplyByRows<GatheredInput>(down.DType, Product(Picked(dy, slots), down.Matrix, slots.Range, dh));
        AddGradWeights<GatedInput<TOp>>(Picked(dy, slots) with { Weight = View<float>(slots.Weight) }, Middle(a, b), slotView, dw.Down);
        Rows<GatedExpertsGradStep<TOp>>(a.Rows, a.Cols, new Step
        {
            A = View<float>(dh),
            B = View<float>(slots.Weight),
            C = ViewOrNone<float>(dweight),
            Y = View<float>(a),
            Z = View<float>(b),
            J = slotView.Offsets,
            N = slotView.Rows,
            M = dweight is null ? 0 : 1,
            P = slotView.First,
            Q = slotView.Count,
        });
        this.Free(dh);

        AddGradWeights<GatheredInput>(Matrix(a), Picked(x, slots), slotView, dw.Gate);
        AddGradWeights<GatheredInput>(Matrix(b), Picked(x, slots), slotView, dw.Up);
        if (dx is null)
            return;
        Tensor results = this.New([a.Rows, x.Cols]);
        MultiplyByRows<PlainInput>(gate.DType, Product(Matrix(a), gate.Matrix, slots.Range, results));
        MultiplyByRows<PlainInput>(up.DType, Product(Matrix(b), up.Matrix, slots.Range, results, adds: true));
        ScatterAddRows(results, slots.Token, slots.Range, dx);
        this.Free(results);
    }
}

/// <summary>One slot, with g = weight · dh: dweight += Σ f(a) · b · dh with M = 1, a ← g · b · f'(a), b ← g · f(a).</summary>
internal struct GatedExpertsGradStep<TOp> : IStep where TOp : struct, IUnary
{
    public static int Code => -1;

    public static void Run(Step s, int item, ArrayView<float> scratch)
    {
        if (item < SlotView.Start(SlotView.Of(s)) || item >= SlotView.End(SlotView.Of(s)))
            return;
        long row = (long)item * s.Cols;
        float weight = s.B[item], sum = 0;
        for (int f = Group.IdxX; f < s.Cols; f += Group.DimX)
        {
            Lanes1 a = new(s.Y[row + f]);
            float b = s.Z[row + f], dh = s.A[row + f], value = TOp.Apply(a).Value;
            sum += value * b * dh;
            s.Y[row + f] = weight * dh * b * TOp.Slope(a).Value;
            s.Z[row + f] = weight * dh * value;
        }
        sum = GroupMath.Sum(sum, scratch);
        if (Group.IdxX == 0 && s.M == 1)
            s.C[item] += sum;
    }
}
