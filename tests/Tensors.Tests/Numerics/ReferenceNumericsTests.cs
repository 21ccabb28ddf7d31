using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests.Numerics;

public sealed class ReferenceNumericsTests : GoldenNumerics, IDisposable
{
    protected override IBackend Subject { get; } = new ReferenceBackend(poison: true);

    public void Dispose() => Subject.Dispose();
}
