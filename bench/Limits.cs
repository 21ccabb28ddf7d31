using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Cpu;

namespace MoeFromScratch.Bench;

/// <summary>
/// What this machine can do and how much of it the kernels use, measured in turns in one process, because shared machines
/// drift by a third from minute to minute: only ratios of neighbours travel. Columns: median and best per second of the
/// clock; median per second of processor time times threads, which is what an idle machine would show and a busy one hides.
/// </summary>
internal static unsafe class Limits
{
    private const int Rounds = 15;

    public static void Print()
    {
        int threads = Environment.ProcessorCount;
        using IBackend all = CpuBackend.Create(), one = CpuBackend.Create(1);
        using WorkerPool pool = new(threads);
        const int N = 1024, Rows = 8192, Cols = 4096;
        Tensor x = Inputs.Random(all, [N, N], 1), w = Inputs.Random(all, [N, N], 2), y = Inputs.Random(all, [N, N], 3), narrow = all.New([N, N], DType.BF16);
        Tensor big = Inputs.Random(all, [Rows, Cols], 4), half = all.New([Rows, Cols], DType.BF16), row = Inputs.Random(all, [1, Cols], 5), dots = all.New([1, Rows]);
        all.Copy(w, narrow);
        all.Copy(big, half);
        double flops = 2.0 * N * N * N, bytes = big.Bytes;
        long steps = 4_000_000;

        Figure[] figures =
        [
            new("FMA peak, 1 thread", 1, "GFLOP/s", 1e-9 * FmaFlops(steps), () => new FmaJob { Steps = steps }.Run(0, 0)),
            new($"FMA peak, {threads} threads", threads, "GFLOP/s", 1e-9 * threads * FmaFlops(steps), () => pool.Run(threads, new FmaJob { Steps = steps })),
            new("Linear 1024³, 1 thread", 1, "GFLOP/s", 1e-9 * flops, () => one.Linear(x, w, y)),
            new($"Linear 1024³, {threads} threads", threads, "GFLOP/s", 1e-9 * flops, () => all.Linear(x, w, y)),
            new($"LinearGradInput 1024³, {threads} threads", threads, "GFLOP/s", 1e-9 * flops, () => all.LinearGradInput(y, w, x)),
            new($"LinearGradWeight 1024³, {threads} threads", threads, "GFLOP/s", 1e-9 * flops, () => all.LinearGradWeight(y, x, w)),
            new($"Linear 1024³ BF16, {threads} threads", threads, "GFLOP/s", 1e-9 * flops, () => all.Linear(x, narrow, y)),
            new($"read 128 MB, {threads} threads", threads, "GB/s", 1e-9 * bytes, () => pool.Run(256, new ReadJob { P = big.Pointer<float>(), Count = (int)(big.Count / 256) })),
            new($"matvec 8192 × 4096 F32, {threads} threads", threads, "GB/s", 1e-9 * bytes, () => all.Linear(row, big, dots)),
            new($"matvec 8192 × 4096 BF16, {threads} threads", threads, "GB/s", 1e-9 * bytes / 2, () => all.Linear(row, half, dots)),
            new("fork and join", threads, "per µs", 1e-6 * 1000, () => { for (int i = 0; i < 1000; i++) pool.Run(threads, default(EmptyJob)); }),
        ];
        for (int round = -3; round < Rounds; round++)
            foreach (Figure figure in figures)
                figure.Measure(keep: round >= 0);

        Console.WriteLine($"{CpuBackend.Instructions}, {threads} threads, .NET {Environment.Version}, {Rounds} interleaved rounds: median, best, median by processor time");
        foreach (Figure figure in figures)
            Console.WriteLine($"{figure.Name,-44}{figure.Median,10:F2}{figure.Best,10:F2}{figure.MedianOfCpu,10:F2} {figure.Unit}");
        Console.WriteLine($"{"fork and join",-44}{1 / figures[^1].Median,10:F2}{1 / figures[^1].Best,10:F2} µs");
        PrintShare("share of peak, Linear 1024³, 1 thread", figures[2], figures[0]);
        PrintShare($"share of peak, Linear 1024³, {threads} threads", figures[3], figures[1]);
    }

    private static void PrintShare(string name, Figure part, Figure whole) =>
        Console.WriteLine($"{name,-44}{part.Median / whole.Median,10:P0}{part.Best / whole.Best,10:P0}{part.MedianOfCpu / whole.MedianOfCpu,10:P0}");

    private sealed record Figure(string Name, int Threads, string Unit, double Amount, Action Work)
    {
        private readonly List<double> _rates = [], _cpuRates = [];

        public double Median => _rates.Order().ElementAt(_rates.Count / 2);

        public double Best => _rates.Max();

        public double MedianOfCpu => _cpuRates.Order().ElementAt(_cpuRates.Count / 2);

        public void Measure(bool keep)
        {
            TimeSpan cpu = Environment.CpuUsage.TotalTime;
            long start = Stopwatch.GetTimestamp();
            Work();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            cpu = Environment.CpuUsage.TotalTime - cpu;
            if (!keep)
                return;
            _rates.Add(Amount / seconds);
            _cpuRates.Add(Amount * Threads / cpu.TotalSeconds);
        }
    }

    private static double FmaFlops(long steps) => steps * 12.0 * 2 * (Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4);

    private struct EmptyJob : IJob
    {
        public readonly void Run(int index, int worker)
        {
        }
    }

    /// <summary>Twelve independent chains: more than latency times throughput of any current core.</summary>
    private struct FmaJob : IJob
    {
        public long Steps;

        public readonly void Run(int index, int worker)
        {
            if (Vector512.IsHardwareAccelerated)
                Chains<Lanes16>(Steps);
            else if (Vector256.IsHardwareAccelerated)
                Chains<Lanes8>(Steps);
            else
                Chains<Lanes4>(Steps);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float Chains<V>(long steps) where V : struct, ILanes<V>
        {
            V a = V.Of(0.999f), b = V.Of(0.001f);
            V c0 = b, c1 = b, c2 = b, c3 = b, c4 = b, c5 = b, c6 = b, c7 = b, c8 = b, c9 = b, c10 = b, c11 = b;
            for (; steps > 0; steps--)
            {
                c0 = V.MulAdd(c0, a, b);
                c1 = V.MulAdd(c1, a, b);
                c2 = V.MulAdd(c2, a, b);
                c3 = V.MulAdd(c3, a, b);
                c4 = V.MulAdd(c4, a, b);
                c5 = V.MulAdd(c5, a, b);
                c6 = V.MulAdd(c6, a, b);
                c7 = V.MulAdd(c7, a, b);
                c8 = V.MulAdd(c8, a, b);
                c9 = V.MulAdd(c9, a, b);
                c10 = V.MulAdd(c10, a, b);
                c11 = V.MulAdd(c11, a, b);
            }
            return V.Sum(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11);
        }
    }

    private struct ReadJob : IJob
    {
        public float* P;
        public int Count;

        public readonly void Run(int index, int worker)
        {
            float* p = P + (long)index * Count;
            Vector256<float> a = default, b = default, c = default, d = default;
            for (int i = 0; i < Count; i += 32)
            {
                a += Vector256.Load(p + i);
                b += Vector256.Load(p + i + 8);
                c += Vector256.Load(p + i + 16);
                d += Vector256.Load(p + i + 24);
            }
            if (float.IsNaN(Vector256.Sum(a + b + c + d)))
                throw new InvalidOperationException("the input is made of numbers");
        }
    }
}
