using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Weights;

/// <summary>Answers for a parameter's path: from a file, at random, or derived from another model.</summary>
public interface IWeightSource
{
    /// <summary>The values of a parameter, in host memory that outlives the model or is freed by the collector.</summary>
    /// <param name="path">"model.layers.3.mlp.gate.weight"</param>
    /// <param name="shape">What the model expects; a source must refuse to answer with another.</param>
    /// <param name="init">Where to start, for sources that have no values of their own.</param>
    Tensor Get(string path, Shape shape, Init init);
}
