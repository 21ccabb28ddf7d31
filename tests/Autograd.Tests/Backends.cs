using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

// Which suite runs on which backend. The reference hands out memory full of NaNs: what is read before it is written shows.

public sealed class GradientsOnReference() : Gradients(new ReferenceBackend(poison: true));
public sealed class RecordingOnReference() : Recording(new ReferenceBackend(poison: true));
public sealed class MemoryOnReference() : Memory(new ReferenceBackend(poison: true));
public sealed class BlocksOnReference() : Blocks(new ReferenceBackend(poison: true));
