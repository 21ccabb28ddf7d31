using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

// Which suite runs on which backend. They hand out memory full of NaNs: what is read before it is written shows.

public sealed class GradientsOnReference() : Gradients(new ReferenceBackend(poison: true));
public sealed class RecordingOnReference() : Recording(new ReferenceBackend(poison: true));
public sealed class MemoryOnReference() : Memory(new ReferenceBackend(poison: true));
public sealed class BlocksOnReference() : Blocks(new ReferenceBackend(poison: true));
public sealed class OptimisersOnReference() : Optimisers(new ReferenceBackend(poison: true));
public sealed class WeightStoresOnReference() : WeightStores(new ReferenceBackend(poison: true));
public sealed class GivenUpOnReference() : GivenUp(new ReferenceBackend(poison: true));
public sealed class FusedExpertsOnReference() : FusedExperts(new ReferenceBackend(poison: true));

public sealed class GradientsOnCpu() : Gradients(CpuBackend.Create(threads: 2, poison: true));
public sealed class RecordingOnCpu() : Recording(CpuBackend.Create(threads: 2, poison: true));
public sealed class MemoryOnCpu() : Memory(CpuBackend.Create(threads: 2, poison: true));
public sealed class BlocksOnCpu() : Blocks(CpuBackend.Create(threads: 2, poison: true));
public sealed class OptimisersOnCpu() : Optimisers(CpuBackend.Create(threads: 2, poison: true));
public sealed class WeightStoresOnCpu() : WeightStores(CpuBackend.Create(threads: 2, poison: true));
public sealed class FusedExpertsOnCpu() : FusedExperts(CpuBackend.Create(threads: 2, poison: true));
public sealed class GivenUpOnCpu() : GivenUp(CpuBackend.Create(threads: 2, poison: true));
