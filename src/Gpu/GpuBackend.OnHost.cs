using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>
/// What has no kernel: its tensors cross to the host, the CPU backend does the work, and results cross back. Each such operation has a
/// name here and counts in <see cref="Counts"/>. Selection by tokens is rare.
/// </summary>
public sealed partial class GpuBackend
{
    private IBackend? _host;

    public void SelectTokens(Tensor mask, Tensor? scores, ReadOnlySpan<int> room, Tensor kept)
    {
        using Crossing host = new(this);
        host.Backend.SelectTokens(host.In(mask), host.Maybe(scores), room, host.Out(kept));
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

        /// <summary>A tensor that is added to: it crosses both ways.</summary>
        public Tensor Out(Tensor y) => Cross(y, true);

        public Tensor? MaybeOut(Tensor? y) => y is null ? null : Out(y);

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
