using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu.Ladder;

/// <summary>
/// A rung, and what is counted of it. Counts that the code decides are checked against the compiled kernel; shares of a device's peak are what
/// follows from them on paper: bounds that a run may miss, not reach beyond.
/// </summary>
/// <param name="Number">1 is the lowest.</param>
/// <param name="Name">One or two words.</param>
/// <param name="M">Rows of y that a group computes.</param>
/// <param name="N">Columns.</param>
/// <param name="K">How far it goes between two barriers; 1 where there are none.</param>
/// <param name="Threads">Of a group.</param>
internal sealed record Rung(int Number, string Name, int M, int N, int K, int Threads)
{
    /// <summary>Tiles of each matrix in shared memory; 0: everything is read from global memory.</summary>
    public int Buffers { get; init; }

    /// <summary>Floats between two columns of a tile in shared memory.</summary>
    public int Pad { get; init; }

    /// <summary>Load instructions of a thread for one k, in the innermost loop.</summary>
    public required int Loads { get; init; }

    /// <summary>Clocks that a multiprocessor's shared memory (or first cache) takes for those loads of one warp.</summary>
    public required int LoadClocks { get; init; }

    /// <summary>Of a thread, counted by hand: accumulators, what is loaded, addresses. The assembler decides.</summary>
    public required int Registers { get; init; }

    public static Rung Naive { get; } = new(1, "naive", Rung1Naive<F32>.M, Rung1Naive<F32>.N, 1, Rung1Naive<F32>.Threads)
    {
        Loads = 2,
        LoadClocks = 2 + 16,        // a line of 128 bytes per clock: 2 rows of x, 16 of w
        Registers = 24,
    };

    public static Rung Tiled { get; } = new(2, "tiled", Rung2Tiled<F32>.M, Rung2Tiled<F32>.N, Rung2Tiled<F32>.K, Rung2Tiled<F32>.Threads)
    {
        Buffers = 1,
        Pad = Rung2Tiled<F32>.Pad,
        Loads = 2,
        LoadClocks = 2,             // 32 lanes, 32 banks
        Registers = 32,
    };

    public static Rung Blocked { get; } = new(3, "blocked", Rung3Blocked<F32>.M, Rung3Blocked<F32>.N, Rung3Blocked<F32>.K, Rung3Blocked<F32>.Threads)
    {
        Buffers = 1,
        Pad = Rung3Blocked<F32>.Pad,
        Loads = 8,
        LoadClocks = 8,
        Registers = 16 + 8 + 24,
    };

    public static Rung Vectors { get; } = new(4, "vectors", Rung4Vectors<F32>.M, Rung4Vectors<F32>.N, Rung4Vectors<F32>.K, Rung4Vectors<F32>.Threads)
    {
        Buffers = 2,
        Pad = Rung4Vectors<F32>.Pad,
        Loads = 4,
        LoadClocks = 4 * 4,         // 16 bytes for eight lanes at a time
        Registers = 64 + 12 + 8 + 28,
    };

    public static IReadOnlyList<Rung> All { get; } = [Naive, Tiled, Blocked, Vectors];

    /// <summary>Multiplications, each with an addition, of a thread for one k.</summary>
    public int Products => M * N / Threads;

    /// <summary>Shared memory of a group.</summary>
    public int SharedBytes => Buffers * K * (M + N + 2 * Pad) * sizeof(float);

    /// <summary>A multiplication and an addition for each k of each output.</summary>
    public static long Flops(int m, int n, int k) => 2L * m * n * k;

    /// <summary>
    /// Bytes that groups ask global memory for: x once for each tile that a row of tiles has, w once for each in a column (without shared memory, once
    /// for each output), and y once. What of it comes from the second cache is not counted. Of a grouped product: the sum over experts.
    /// </summary>
    public long Bytes(int m, int n, int k, DType weights)
    {
        (int height, int width) = Buffers == 0 ? (1, 1) : (M, N);
        return Tiles(n, width) * m * k * sizeof(float) + Tiles(m, height) * n * k * weights.Size() + (long)m * n * sizeof(float);
    }

    /// <summary>Flops per byte of a whole tile of F32, y left out.</summary>
    public double Intensity => Buffers == 0 ? 2.0 / (2 * sizeof(float)) : 2.0 * M * N / ((M + N) * sizeof(float));

    /// <summary>Groups that a multiprocessor holds at once: 2048 threads, 65,536 registers, 227 KB, 1 KB of which each group costs.</summary>
    public int Groups => Math.Min(2048 / Threads, Math.Min(65536 / (Registers * Threads), 227 * 1024 / (SharedBytes + 1024)));

    /// <summary>Of the threads that a multiprocessor can hold.</summary>
    public double Occupancy => Groups * Threads / 2048.0;

    /// <summary>A warp's multiplications for one k take a quarter of a clock each: four schedulers start one instruction per clock, for 32 lanes.</summary>
    public double LoadBound => Products / 4.0 / LoadClocks;

    /// <summary>Of the instructions that schedulers start, those that multiply, if all others were loads: addresses and the loop itself come on top.</summary>
    public double IssueBound => (double)Products / (Products + Loads);

    /// <summary>If every byte came from the device's memory, none from a cache.</summary>
    public double MemoryBound(Chip chip) => Intensity * chip.BytesPerSecond / chip.FlopsPerSecond;

    /// <summary>The lowest of these bounds: the share of the device's peak in F32 that large matrices may get.</summary>
    public double Share(Chip chip) => Math.Min(Math.Min(LoadBound, IssueBound), Math.Min(MemoryBound(chip), 1));

    private static long Tiles(int length, int tile) => (length + tile - 1) / tile;
}

/// <summary>What a device does at most by its data sheet: F32 without tensor cores, and bytes from its memory.</summary>
internal sealed record Chip(string Name, double FlopsPerSecond, double BytesPerSecond)
{
    public static Chip H200 { get; } = new("H200", 67e12, 4.8e12);

    public static Chip H100 { get; } = new("H100", 67e12, 3.35e12);
}
