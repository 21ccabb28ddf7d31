namespace MoeFromScratch.Tensors.Tests;

internal static class Allocations
{
    /// <summary>
    /// Managed bytes that all threads of the process allocate in steady state: the least of several runs, because test
    /// runners and the JIT allocate beside.
    /// </summary>
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
