namespace MoeFromScratch.Tensors.Tests;

/// <summary>Tests that count what the whole process allocates run while no other does.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Allocations
{
    public const string Name = "allocations";

    /// <summary>Managed bytes that all threads allocate in steady state: the least of several runs, because the JIT and the runner allocate beside.</summary>
    public static long In(Action work)
    {
        long least = long.MaxValue;
        for (int run = 0; run < 20; run++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            work();
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        return least;
    }
}
