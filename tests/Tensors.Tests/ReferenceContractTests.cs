using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests;

/// <summary>
/// The reference keeps the contract's rules that need no second opinion: inputs stay, outputs are written in full, nothing
/// beyond them is, buffers come back. That its numbers are right is shown by the numerics.
/// </summary>
public sealed class ReferenceContractTests : BackendContract, IDisposable
{
    protected override IBackend Subject { get; } = new ReferenceBackend(poison: true);

    public void Dispose() => Subject.Dispose();
}
