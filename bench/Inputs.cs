using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench;

internal static class Inputs
{
    /// <summary>Values in (−1, 1), small enough that repeated accumulation stays finite.</summary>
    public static Tensor Random(IBackend backend, Shape shape, int seed)
    {
        Random random = new(seed);
        float[] values = new float[shape.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = (random.NextSingle() * 2 - 1) * 1e-2f;
        return backend.From(shape, values);
    }
}
