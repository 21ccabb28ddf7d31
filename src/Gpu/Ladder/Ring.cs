using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.Gpu.Ladder;

/// <summary>Tiles of both matrices on their way to shared memory, one after the other in a ring: one is read, two are under way.</summary>
internal static class Ring
{
    public const int Stages = 3;

    /// <summary>
    /// Asks for the tiles, <paramref name="height"/> rows of <paramref name="width"/> columns each, that begin at column <paramref name="k"/>; in shared memory
    /// rows lie <paramref name="stride"/> elements apart. Beyond the matrices there are zeros.
    /// </summary>
    public static void Ask<TWeight>(LadderArgs a, TileRows rows, int column, int k, int stage, int height, int width, int stride, ArrayView<float> xs, ElementView ws)
        where TWeight : struct, IElement
    {
        for (int i = 4 * Group.IdxX; i < height * width; i += 4 * Group.DimX)
        {
            int row = i / width, from = k + i % width, to = (stage * height + row) * stride + i % width;
            Ptx.Copy(xs.AsAligned(16).Cast<F4>(), to >> 2, a.X.AsAligned(16).Cast<F4>(), ((long)(rows.First + row) * a.K + from) >> 2,
                rows.First + row < rows.End & from < a.K);
            TWeight.CopyFour(ws, to, a.W, rows.Expert * a.WExpert + (long)(column + row) * a.K + from, column + row < a.N & from < a.K);
        }
        Ptx.Commit();
    }

    /// <summary>Where the tiles of weights are, whatever their type.</summary>
    public static ElementView Elements(ArrayView<float> tiles) => new() { Floats = tiles, Halves = tiles.Cast<ushort>() };

    public static int Next(int stage) => stage == Stages - 1 ? 0 : stage + 1;
}
