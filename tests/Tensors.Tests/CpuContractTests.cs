using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>The contract for one width of vectors; on a machine without that width, its software stands in.</summary>
public abstract class CpuContractTests<V>(int threads) : BackendContract, IDisposable where V : struct, ILanes<V>
{
    protected override IBackend Subject { get; } = CpuBackend.Create<V>(threads, poison: true);

    public virtual void Dispose()
    {
        Subject.Dispose();
        GC.SuppressFinalize(this);
    }
}

/// <summary>Two or three threads give the very bits that one gives, on every case of the contract.</summary>
public abstract class CpuThreadsContractTests<V>(int threads) : CpuContractTests<V>(threads) where V : struct, ILanes<V>
{
    protected override IBackend Oracle { get; } = CpuBackend.Create<V>(threads: 1, poison: true);

    protected override double Within(double stated) => Exact;

    public override void Dispose()
    {
        Oracle.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class CpuLanes4ContractTests() : CpuContractTests<Lanes4>(threads: 1);

public sealed class CpuLanes4Threads2ContractTests() : CpuThreadsContractTests<Lanes4>(threads: 2);

public sealed class CpuLanes4Threads3ContractTests() : CpuThreadsContractTests<Lanes4>(threads: 3);

public sealed class CpuLanes8ContractTests() : CpuContractTests<Lanes8>(threads: 1);

public sealed class CpuLanes8Threads2ContractTests() : CpuThreadsContractTests<Lanes8>(threads: 2);

public sealed class CpuLanes8Threads3ContractTests() : CpuThreadsContractTests<Lanes8>(threads: 3);

public sealed class CpuLanes16ContractTests() : CpuContractTests<Lanes16>(threads: 1);

public sealed class CpuLanes16Threads2ContractTests() : CpuThreadsContractTests<Lanes16>(threads: 2);

public sealed class CpuLanes16Threads3ContractTests() : CpuThreadsContractTests<Lanes16>(threads: 3);
