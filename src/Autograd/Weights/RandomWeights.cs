using System.Text;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Weights;

/// <summary>
/// Fresh parameters, drawn as their initialiser says. Each number depends on the seed, the parameter's path and its place
/// alone, so the order in which a model asks changes nothing.
/// </summary>
public sealed class RandomWeights(ulong seed) : IWeightSource
{
    public Tensor Get(string path, Shape shape, Init init)
    {
        Tensor y = new(shape, DType.F32, new NativeStorage(shape.Count * sizeof(float))) { Name = path };
        CounterRandom random = new(seed, Hash(path));
        Span<float> values = y.Floats;
        for (int i = 0; i < values.Length; i++)
            values[i] = init.Std == 0 ? init.Mean : init.Mean + init.Std * random.Normal((ulong)i);
        return y;
    }

    /// <summary>FNV-1a over the path's UTF-8 bytes.</summary>
    private static ulong Hash(string path)
    {
        ulong hash = 14695981039346656037;
        foreach (byte b in Encoding.UTF8.GetBytes(path))
            hash = (hash ^ b) * 1099511628211;
        return hash;
    }
}
