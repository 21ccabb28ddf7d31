using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck.Tests;

/// <summary>Kernels with one fault each. Comments at the end of a line say which lines a message must name.</summary>
internal static class Faulty
{
    /// <summary>"Faulty.cs:12" for the line that ends in the mark.</summary>
    public static string Line(string mark)
    {
        string[] lines = File.ReadAllLines(Path());
        return $"Faulty.cs:{Array.FindIndex(lines, line => line.EndsWith("// " + mark, StringComparison.Ordinal)) + 1} ";
    }

    private static string Path([CallerFilePath] string path = "") => path;

    public static void ReadsBeyond(ArrayView<float> x, ArrayView<float> y) =>
        y[Group.IdxX] = x[Group.IdxX + 1]; // beyond

    public static void WritesBeyond(ArrayView1D<float, Stride1D.Dense> y) =>
        y[Group.IdxX] = 1; // beyond too

    public static void NegativeIndex(ArrayView<float> y)
    {
        int i = Group.IdxX - 1;
        y[i] = 1; // negative
    }

    public static void SubViewBeyond(ArrayView<float> y)
    {
        ArrayView<float> part = y.SubView(2, 8); // sub-view
        part[Group.IdxX] = 1;
    }

    public static void Misaligned(ArrayView<float> x) => x.SubView(1).Cast<F4>()[Group.IdxX] = default; // misaligned

    /// <summary>The second barrier, between storing and loading, is missing.</summary>
    public static void SharedRace(ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(64);
        s[Group.IdxX] = 0;
        Group.Barrier();
        s[Group.IdxX] = Group.IdxX; // stores
        y[Group.IdxX] = s[Group.IdxX ^ 1]; // loads
    }

    /// <summary>The barrier between loading and the next store is missing.</summary>
    public static void SecondRoundRace(ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(64);
        float sum = 0;
        for (int k = 0; k < 2; k++)
        {
            s[Group.IdxX] = k; // again
            Group.Barrier();
            sum += s[63 - Group.IdxX]; // before
        }
        y[Group.IdxX] = sum;
    }

    public static void GlobalRace(ArrayView<float> y)
    {
        if (Group.IdxX == 0)
            y[0] = 1;
        y[1 + Group.IdxX] = y[0];
    }

    public static void SameValue(ArrayView<int> y) => y[0] = 7;

    public static void GroupRace(ArrayView<float> y)
    {
        if (Group.IdxX == 0)
            y[0] = Grid.IdxX; // groups
    }

    public static void GroupReadRace(ArrayView<float> y)
    {
        if (Grid.IdxX == 0)
            y[0] += 1;
        y[1 + Grid.IdxX * Group.DimX + Group.IdxX] = y[0];
    }

    public static void PlainAfterAtomic(ArrayView<int> y)
    {
        Atomic.Add(ref y[0], 1); // atomic
        if (Group.IdxX == 40)
            y[1] = y[0]; // plain
    }

    public static void HalfRace(ArrayView<ushort> y) => y[Group.IdxX / 2] = 1;

    public static void HalvesApart(ArrayView<ushort> y) => y[Group.IdxX] = (ushort)Group.IdxX;

    public static void SomeExit(ArrayView<float> y)
    {
        if (Group.IdxX >= y.Length)
            return;
        Group.Barrier(); // barrier
        y[Group.IdxX] = 1;
    }

    public static void TwoBarriers(ArrayView<float> y)
    {
        if (Group.IdxX < 32)
            Group.Barrier(); // one
        else
            Group.Barrier(); // other
        y[Group.IdxX] = 1;
    }

    public static void SomeLanes(ArrayView<float> y)
    {
        float x = 1;
        if (Warp.LaneIdx < 16)
            x = Warp.ShuffleXor(x, 1); // shuffle
        y[Group.IdxX] = x;
    }

    public static void UninitialisedShared(ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(64);
        if (Group.IdxX != 5)
            s[Group.IdxX] = 1;
        Group.Barrier();
        y[Group.IdxX] = s[Group.IdxX]; // unwritten
    }

    /// <summary>Group 1 relies on what group 0 left in shared memory.</summary>
    public static void SharedOfLastGroup(ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(64);
        if (Grid.IdxX == 0)
            s[Group.IdxX] = 1;
        y[Grid.IdxX * Group.DimX + Group.IdxX] = s[Group.IdxX];
    }

    public static void Copy(ArrayView<float> x, ArrayView<float> y) => y[Group.IdxX] = x[Group.IdxX];

    public static void CopyHalves(ArrayView<ushort> x, ArrayView<ushort> y) => y[Group.IdxX] = x[Group.IdxX];

    public static void TooMuchShared(ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(8192), t = SharedMemory.Allocate<float>(4097); // too much
        s[Group.IdxX] = 1;
        t[Group.IdxX] = s[Group.IdxX];
        y[Group.IdxX] = t[Group.IdxX];
    }

    public static void DynamicBeyond(ArrayView<float> y)
    {
        ArrayView<float> s = SharedMemory.GetDynamic<float>();
        s[Group.IdxX + 1] = 1; // dynamic
        y[Group.IdxX] = 0;
    }

    public static void SharedOfSize(ArrayView<float> y, int n)
    {
        ArrayView<float> s = SharedMemory.Allocate<float>(n);
        s[Group.IdxX] = 1;
        y[Group.IdxX] = s[Group.IdxX];
    }

    public static void Quarter(ArrayView<int> x, ArrayView<int> y) => y[Group.IdxX] = x[Group.IdxX] / 4; // quarter

    public static void TileOf<TTile>(ArrayView<int> x, ArrayView<int> y) where TTile : struct, ITile
    {
        int size = TTile.Size;
        y[Group.IdxX] = x[Group.IdxX] / size;
    }

    public static void QuarterUnsigned(ArrayView<uint> x, ArrayView<uint> y) => y[Group.IdxX] = x[Group.IdxX] / 4;

    public static void Others(ArrayView<int> x, ArrayView<int> y, int four) =>
        y[Group.IdxX] = x[Group.IdxX] / four + x[Group.IdxX] % 4 + x[Group.IdxX] / 3 + (x[Group.IdxX] >> 2);
}
