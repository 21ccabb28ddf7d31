using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MoeFromScratch.Tensors.Cpu;

/// <summary>
/// Work that nothing but the machine limits: what a kernel's rate is held against, measured in the same minute, because
/// shared machines drift. Each method returns how much work it did; the caller keeps the time.
/// </summary>
public sealed unsafe class MachineLimits(int threads) : IDisposable
{
    private readonly WorkerPool _pool = new(threads);

    /// <summary>Multiplies and adds in registers on every thread.</summary>
    /// <returns>Floating-point operations.</returns>
    public double MultiplyAdd(long steps = 2_000_000)
    {
        _pool.Run(threads, new FmaJob { Steps = steps });
        int lanes = Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4;
        return (double)threads * steps * 2 * FmaJob.ChainCount * lanes;
    }

    /// <summary>Reads a tensor once, the threads sharing it.</summary>
    /// <param name="x">F32, larger than the caches to measure memory.</param>
    /// <returns>Bytes.</returns>
    public double Read(Tensor x)
    {
        const int Pieces = 256;
        int each = (int)(x.Count / Pieces) & ~31;
        _pool.Run(Pieces, new ReadJob { P = x.Pointer<float>(), Count = each });
        return (double)Pieces * each * sizeof(float);
    }

    /// <summary>Hands out nothing and waits for it.</summary>
    /// <returns>How often.</returns>
    public double ForkAndJoin(int times = 1000)
    {
        for (int i = 0; i < times; i++)
            _pool.Run(threads, default(EmptyJob));
        return times;
    }

    public void Dispose() => _pool.Dispose();

    private struct EmptyJob : IJob
    {
        public readonly void Run(int index, int worker)
        {
        }
    }

    /// <summary>Twelve independent chains: more than latency times throughput of any current core.</summary>
    private struct FmaJob : IJob
    {
        public const int ChainCount = 12;
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
