using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>
/// What has no kernel: its tensors cross to the host, the CPU backend does the work, and results cross back. Each such operation has a
/// name here and counts in <see cref="Counts"/>. Selection by tokens is rare; the way back is not on the device yet.
/// </summary>
public sealed partial class GpuBackend
{
    private IBackend? _host;

    public void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept)
    {
        using Crossing host = new(this);
        host.Backend.SelectTokens(host.In(mask), host.Maybe(scores), room, host.Out(kept));
    }

    public void LinearGradWeight(Tensor dy, Tensor x, Tensor dw)
    {
        using Crossing host = new(this);
        host.Backend.LinearGradWeight(host.In(dy), host.In(x), host.Out(dw));
    }

    public void GroupedLinearGradWeight(Tensor dy, Tensor x, SlotRange range, ReadOnlySpan<Tensor?> dw)
    {
        using Crossing host = new(this);
        host.Backend.GroupedLinearGradWeight(host.In(dy), host.In(x), host.In(range), host.Out(dw));
    }

    public void GatedExpertsGrad<TOp>(Tensor x, in ExpertSlots slots, in GatedWeights<Tensor> w, Tensor a, Tensor b, Tensor dy,
        Tensor? dx, Tensor? dweight, in GatedWeights<Tensor?> dw) where TOp : struct, IUnary
    {
        using Crossing host = new(this);
        ExpertSlots there = new(host.In(slots.Token), host.In(slots.Weight), host.In(slots.Range));
        Tensor[] weights = [.. host.In(w.Gate), .. host.In(w.Up), .. host.In(w.Down)];
        Tensor?[] gradients = [.. host.Out(dw.Gate), .. host.Out(dw.Up), .. host.Out(dw.Down)];
        host.Backend.GatedExpertsGrad<TOp>(host.In(x), there, new(weights), host.Out(a), host.Out(b), host.In(dy), host.MaybeOut(dx), host.MaybeOut(dweight), new(gradients));
    }

    /// <summary>One operation's tensors on the host; when it is disposed of, those it wrote cross back.</summary>
    private readonly ref struct Crossing
    {
        private readonly GpuBackend _device;
        private readonly List<(Tensor Device, Tensor Host, bool IsOut)> _tensors = [];

        public Crossing(GpuBackend device)
        {
            _device = device;
            device._host ??= CpuBackend.Create();
            device._hostCrossings++;
        }

        public IBackend Backend => _device._host!;

        public Tensor In(Tensor x) => Cross(x, false);

        public Tensor? Maybe(Tensor? x) => x is null ? null : In(x);

        public SlotRange In(in SlotRange range) => range with { Offsets = Maybe(range.Offsets) };

        public Tensor[] In(ReadOnlySpan<Tensor> all)
        {
            Tensor[] there = new Tensor[all.Length];
            for (int i = 0; i < there.Length; i++)
                there[i] = In(all[i]);
            return there;
        }

        /// <summary>A tensor that is added to: it crosses both ways.</summary>
        public Tensor Out(Tensor y) => Cross(y, true);

        public Tensor? MaybeOut(Tensor? y) => y is null ? null : Out(y);

        public Tensor?[] Out(ReadOnlySpan<Tensor?> all)
        {
            Tensor?[] there = new Tensor?[all.Length];
            for (int i = 0; i < there.Length; i++)
                there[i] = MaybeOut(all[i]);
            return there;
        }

        public void Dispose()
        {
            foreach ((Tensor device, Tensor host, bool isOut) in _tensors)
            {
                if (isOut)
                    _device.Upload(host.Host<byte>(), device);
                Backend.Free(host);
            }
        }

        private Tensor Cross(Tensor x, bool isOut)
        {
            Tensor host = Backend.New(x.Shape, x.DType);
            host.Name = x.Name;
            _device.Download(x, host.Host<byte>());
            _tensors.Add((x, host, isOut));
            return host;
        }
    }
}
