namespace MoeFromScratch.Tensors;

/// <summary>
/// Random numbers without a state: the n-th number of a stream is a function of (seed, stream, n), so a recomputed block, a
/// resumed run and any number of threads draw the same ones. Philox-4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel
/// random numbers: as easy as 1, 2, 3", SC 2011).
/// </summary>
/// <param name="Seed">The run's seed.</param>
/// <param name="Stream">Tells the uses apart; <see cref="At"/> builds one from where and when a number is drawn.</param>
public readonly record struct CounterRandom(ulong Seed, ulong Stream)
{
    /// <summary>The stream of one place in one step.</summary>
    /// <param name="step">Training or decoding step, below 2^32.</param>
    /// <param name="layer">Layer, below 2^16.</param>
    /// <param name="site">Which use inside the layer, below 2^16.</param>
    public static CounterRandom At(ulong seed, long step, int layer, int site) =>
        new(seed, ((ulong)(uint)step << 32) | ((ulong)(ushort)layer << 16) | (ushort)site);

    /// <summary>Uniform on (0, 1), never either end.</summary>
    public float Uniform(ulong n)
    {
        (uint a, _, _, _) = Block(n);
        return ((a >> 9) + 0.5f) * (1f / (1 << 23));
    }

    /// <summary>Normal with mean 0 and variance 1 (Box and Muller, 1958).</summary>
    public float Normal(ulong n)
    {
        (uint a, uint b, _, _) = Block(n);
        double radius = Math.Sqrt(-2 * Math.Log((a + 0.5) / 4294967296.0));
        return (float)(radius * Math.Cos(2 * Math.PI * (b / 4294967296.0)));
    }

    /// <summary>A number in [0, bound), without bias worth naming for bounds far below 2^64.</summary>
    public long Below(long bound, ulong n)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bound);
        (uint a, uint b, _, _) = Block(n);
        return (long)Math.BigMul(((ulong)a << 32) | b, (ulong)bound, out _);
    }

    /// <summary>The n-th block of four random words.</summary>
    public (uint, uint, uint, uint) Block(ulong n)
    {
        const ulong M0 = 0xD2511F53, M1 = 0xCD9E8D57;
        const uint W0 = 0x9E3779B9, W1 = 0xBB67AE85;
        uint k0 = (uint)Seed, k1 = (uint)(Seed >> 32);
        uint c0 = (uint)n, c1 = (uint)(n >> 32), c2 = (uint)Stream, c3 = (uint)(Stream >> 32);
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = M0 * c0, p1 = M1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += W0;
            k1 += W1;
        }
        return (c0, c1, c2, c3);
    }
}
