using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests.Numerics;

public abstract class CpuNumericsTests<V> : GoldenNumerics, IDisposable where V : struct, ILanes<V>
{
    protected override IBackend Subject { get; } = CpuBackend.Create<V>(threads: 2, poison: true);

    public void Dispose()
    {
        Subject.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class CpuLanes4NumericsTests : CpuNumericsTests<Lanes4>;

public sealed class CpuLanes8NumericsTests : CpuNumericsTests<Lanes8>;

public sealed class CpuLanes16NumericsTests : CpuNumericsTests<Lanes16>;
