using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.Gpu.Ladder;

/// <summary>
/// Rung 5: the tiles and outputs of rung 4, but what is loaded goes from global to shared memory without passing through registers. That needs no
/// registers to wait in, so two tiles can be on their way while a third is multiplied, and as memory is copied as it lies, k is the fast
/// index in shared memory too: a load brings four of k for one row. A thread's rows are 4 apart and its columns 8, so that any eight threads that are
/// served at once read the same row of x, and eight rows of w that lie beside each other. Rows of x and w begin at multiples of four elements.
/// </summary>
internal struct Rung5AsyncCopies<TWeight> : IKernel<LadderArgs> where TWeight : struct, IElement
{
    /// <summary>The outputs of a group, and how far it goes along k between two barriers.</summary>
    public const int M = 128, N = 128, K = 8;

    public const int Threads = 256;

    /// <summary>Elements from one row to the next: eight rows' 16 bytes (sixteen rows' 8) are those of all banks.</summary>
    public const int Row = K + 4, SharedBytes = Ring.Stages * (M + N) * Row * sizeof(float);

    public static void Run(LadderArgs a)
    {
        ArrayView<float> xs = SharedMemory.Allocate<float>(Ring.Stages * M * Row), tiles = SharedMemory.Allocate<float>(Ring.Stages * N * Row);
        ElementView ws = Ring.Elements(tiles);
        TileRows rows = LadderTile.Rows(a, M);
        if (rows.First >= rows.End)
            return;
        int column = Grid.IdxX * N, warp = Group.IdxX >> 5, lane = Group.IdxX & 31;
        int m = ((warp >> 1) << 5) + (lane >> 3), n = ((warp & 1) << 6) + (lane & 7);
        int now = 0, next = 2;
        F8 c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        Ring.Ask<TWeight>(a, rows, column, 0, 0, M, K, Row, xs, ws);
        Ring.Ask<TWeight>(a, rows, column, K, 1, M, K, Row, xs, ws);
        for (int k0 = 0; k0 < a.K; k0 += K)
        {
            Ptx.WaitForAllButOne();
            Group.Barrier();                                            // everybody's copies have arrived, and the oldest tile has been read
            Ring.Ask<TWeight>(a, rows, column, k0 + 2 * K, next, M, K, Row, xs, ws);
            int x = (now * M + m) * Row, w = (now * N + n) * Row;
            for (int k = 0; k < K; k += 4, x += 4, w += 4)
            {
                F4 w0 = TWeight.Four(ws, w), w1 = TWeight.Four(ws, w + 8 * Row), w2 = TWeight.Four(ws, w + 16 * Row), w3 = TWeight.Four(ws, w + 24 * Row);
                F4 w4 = TWeight.Four(ws, w + 32 * Row), w5 = TWeight.Four(ws, w + 40 * Row), w6 = TWeight.Four(ws, w + 48 * Row), w7 = TWeight.Four(ws, w + 56 * Row);
                c0 = MulAdd(At(xs, x), w0, w1, w2, w3, w4, w5, w6, w7, c0);
                c1 = MulAdd(At(xs, x + 4 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c1);
                c2 = MulAdd(At(xs, x + 8 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c2);
                c3 = MulAdd(At(xs, x + 12 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c3);
                c4 = MulAdd(At(xs, x + 16 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c4);
                c5 = MulAdd(At(xs, x + 20 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c5);
                c6 = MulAdd(At(xs, x + 24 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c6);
                c7 = MulAdd(At(xs, x + 28 * Row), w0, w1, w2, w3, w4, w5, w6, w7, c7);
            }
            now = Ring.Next(now);
            next = Ring.Next(next);
        }
        m += rows.First;
        Store(a, rows, m, column + n, c0);
        Store(a, rows, m + 4, column + n, c1);
        Store(a, rows, m + 8, column + n, c2);
        Store(a, rows, m + 12, column + n, c3);
        Store(a, rows, m + 16, column + n, c4);
        Store(a, rows, m + 20, column + n, c5);
        Store(a, rows, m + 24, column + n, c6);
        Store(a, rows, m + 28, column + n, c7);
    }

    private static F4 At(ArrayView<float> xs, int i) => xs.AsAligned(16).Cast<F4>()[i >> 2];

    /// <summary>c + x · each of eight rows of w, for four of k</summary>
    private static F8 MulAdd(F4 x, F4 w0, F4 w1, F4 w2, F4 w3, F4 w4, F4 w5, F4 w6, F4 w7, F8 c) => new()
    {
        A = new F4 { X = Dot(x, w0, c.A.X), Y = Dot(x, w1, c.A.Y), Z = Dot(x, w2, c.A.Z), W = Dot(x, w3, c.A.W) },
        B = new F4 { X = Dot(x, w4, c.B.X), Y = Dot(x, w5, c.B.Y), Z = Dot(x, w6, c.B.Z), W = Dot(x, w7, c.B.W) },
    };

    private static float Dot(F4 x, F4 w, float c) => x.W * w.W + (x.Z * w.Z + (x.Y * w.Y + (x.X * w.X + c)));

    private static void Store(LadderArgs a, TileRows rows, int row, int column, F8 c)
    {
        LadderTile.Store(a, rows, row, column, c.A.X);
        LadderTile.Store(a, rows, row, column + 8, c.A.Y);
        LadderTile.Store(a, rows, row, column + 16, c.A.Z);
        LadderTile.Store(a, rows, row, column + 24, c.A.W);
        LadderTile.Store(a, rows, row, column + 32, c.B.X);
        LadderTile.Store(a, rows, row, column + 40, c.B.Y);
        LadderTile.Store(a, rows, row, column + 48, c.B.Z);
        LadderTile.Store(a, rows, row, column + 56, c.B.W);
    }
}
