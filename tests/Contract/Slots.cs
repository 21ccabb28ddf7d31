namespace MoeFromScratch.Contract;

/// <summary>A random choice of experts and its slot list, made without any backend.</summary>
public sealed class Slots
{
    /// <summary>Each token chooses each expert with probability 0.4; token 0 none, and nobody chooses <paramref name="lonely"/>.</summary>
    public Slots(Noise noise, int tokens, int experts, int lonely = 1)
    {
        (T, E, Mask, Offsets) = (tokens, experts, new float[tokens * experts], new int[experts + 1]);
        for (int e = 0; e < experts; e++)
        {
            for (int t = 1; t < tokens; t++)
                if (e != lonely && noise.Uniform(t * experts + e) < 0.4f)
                {
                    Mask[t * experts + e] = 1;
                    Token.Add(t);
                    Expert.Add(e);
                }
            Offsets[e + 1] = Token.Count;
        }
    }

    public int T { get; }
    public int E { get; }

    /// <summary>[T, E]</summary>
    public float[] Mask { get; }

    /// <summary>[E + 1]</summary>
    public int[] Offsets { get; }

    public List<int> Token { get; } = [];
    public List<int> Expert { get; } = [];

    /// <summary>Slots in use.</summary>
    public int Live => Token.Count;

    /// <summary>Slots there is room for: slot tensors may be longer than what is in use.</summary>
    public int Capacity => Live + 5;

    /// <summary>A slot list at full capacity; the unused tail holds what no kernel may look at.</summary>
    public static int[] Padded(List<int> list, int capacity) => [.. list, .. Enumerable.Repeat(-999, capacity - list.Count)];
}
