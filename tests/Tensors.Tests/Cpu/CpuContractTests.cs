using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>The contract on vectors of one width, whether this machine has them or not, with more threads than most have cores free.</summary>
public abstract class CpuContractTests<V> : BackendContract, IDisposable where V : struct, ILanes<V>
{
    protected override IBackend Subject { get; } = CpuBackend.Create<V>(threads: 3, poison: true);

    public void Dispose()
    {
        Subject.Dispose();
        Oracle.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class Cpu4ContractTests : CpuContractTests<Lanes4>;

public sealed class Cpu8ContractTests : CpuContractTests<Lanes8>;

public sealed class Cpu16ContractTests : CpuContractTests<Lanes16>;
