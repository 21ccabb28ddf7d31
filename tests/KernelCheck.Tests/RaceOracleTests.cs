using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>Random accesses: a race is reported exactly where trying all pairs of accesses finds one.</summary>
public class RaceOracleTests
{
    private const int Groups = 2, Threads = 70, Rounds = 3, Slots = 2, Nothing = 0, Read = 1, Write = 2, Add = 3;

    /// <summary>Each thread does its two things a round, with a barrier between rounds. script [group, round, thread, slot] holds kind and address.</summary>
    private static void Play(ArrayView<int> script, ArrayView<int> memory, ArrayView<int> seen)
    {
        ArrayView<int> shared = SharedMemory.Allocate<int>(8);
        if (Group.IdxX < 8)
            shared[Group.IdxX] = 0;
        Group.Barrier();
        int sum = 0;
        for (int round = 0; round < Rounds; round++)
        {
            for (int slot = 0; slot < Slots; slot++)
            {
                int what = script[((Grid.IdxX * Rounds + round) * Group.DimX + Group.IdxX) * Slots + slot], at = (what >> 4) & 7;
                bool isShared = (what & 128) != 0;
                if ((what & 15) == Read)
                    sum += isShared ? shared[at] : memory[at];
                else if ((what & 15) == Write && isShared)
                    shared[at] = round;
                else if ((what & 15) == Write)
                    memory[at] = round;
                else if ((what & 15) == Add)
                    Atomic.Add(ref isShared ? ref shared[at] : ref memory[at], 1);
            }
            Group.Barrier();
        }
        seen[Grid.GlobalIndex.X] = sum;
    }

    [Theory, InlineData(ThreadOrder.Forward), InlineData(ThreadOrder.Reversed), InlineData(ThreadOrder.Seeded)]
    public void AgreesWithAllPairs(ThreadOrder order)
    {
        using IDisposable _ = new KernelCheckOptions { Order = order, Leaks = false }.Use();
        int races = 0;
        for (int seed = 0; seed < 300; seed++)
        {
            int[] script = Script(new Random(seed));
            using Device device = new();
            MemoryBuffer1D<int, Stride1D.Dense> memory = device.New(new int[8]), seen = device.Raw<int>(Groups * Threads), s = device.New(script);
            FaultKind? found = null;
            try
            {
                device.Accelerator.LoadStreamKernel<ArrayView<int>, ArrayView<int>, ArrayView<int>>(Play)((Groups, Threads), s.View, memory.View, seen.View);
            }
            catch (KernelFault fault)
            {
                found = fault.Kind;
            }
            bool expected = HasRace(script);
            races += expected ? 1 : 0;
            Assert.True(expected == (found is FaultKind.RaceInGroup or FaultKind.RaceBetweenGroups), $"seed {seed}: {expected}, {found}");
        }
        Assert.InRange(races, 50, 250);
    }

    private static int[] Script(Random random)
    {
        int[] script = new int[Groups * Rounds * Threads * Slots];
        int busy = random.Next(2, 14);
        for (int i = 0; i < busy; i++)
            script[random.Next(script.Length)] = random.Next(Read, Add + 1) | random.Next(8) << 4 | random.Next(2) << 7;
        // Many readers of one address, so that their marks must be merged.
        int from = random.Next(script.Length / 2);
        for (int i = 0; i < 60; i++)
            if (script[from + i] == Nothing)
                script[from + i] = Read | 3 << 4 | random.Next(2) << 7;
        return script;
    }

    private static bool HasRace(int[] script)
    {
        for (int i = 0; i < script.Length; i++)
            for (int j = 0; j < i; j++)
            {
                (int a, int b) = (script[i], script[j]);
                if ((a & 15) == Nothing || (b & 15) == Nothing || a >> 4 != b >> 4)
                    continue;
                if ((a & 15) == Read && (b & 15) == Read || (a & 15) == Add && (b & 15) == Add)
                    continue;
                (int group, int round, int thread) place(int k) => (k / Slots / Threads / Rounds, k / Slots / Threads % Rounds, k / Slots % Threads);
                (int group, int round, int thread) p = place(i), q = place(j);
                bool isShared = (a & 128) != 0;
                if (p.group != q.group ? !isShared : p.round == q.round && p.thread != q.thread)
                    return true;
            }
        return false;
    }
}
