namespace MoeFromScratch.Contract;

/// <summary>Random numbers by counter: the i-th number of a seed is always the same, in whatever order they are drawn.</summary>
public readonly struct Noise(ulong seed)
{
    /// <summary>64 random bits: SplitMix64's output function (Steele, Lea and Flood, 2014) of seed and i.</summary>
    public ulong Bits(long i)
    {
        ulong z = unchecked((seed + 1) * 0xD1B54A32D192ED03 + (ulong)(i + 1) * 0x9E3779B97F4A7C15);
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
        return z ^ (z >> 31);
    }

    /// <summary>In [0, 1).</summary>
    public float Uniform(long i) => (Bits(i) >> 40) / (float)(1 << 24);

    /// <summary>Normally distributed: Box and Muller's transform of two uniforms.</summary>
    public float Normal(long i)
    {
        double radius = Math.Sqrt(-2 * Math.Log(1 - Uniform(2 * i)));
        return (float)(radius * Math.Cos(2 * Math.PI * Uniform(2 * i + 1)));
    }

    /// <summary>0 … limit − 1.</summary>
    public int Below(int limit, long i) => (int)(Bits(i) % (ulong)limit);

    public float[] Normals(long count)
    {
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = Normal(i);
        return values;
    }
}
