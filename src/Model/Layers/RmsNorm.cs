using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>
/// y = x / rms(x) · weight, before each sub-layer, before the output projection, and on queries and keys where a model has it there.
/// </summary>
/// <param name="size">Length of the vectors that are normalised; a row may hold several.</param>
public sealed class RmsNorm(ModelConfig model, WeightScope w, int size)
{
    private readonly Tensor _weight = w.GetF32("weight", [size], Init.Ones);

    public Tensor Forward(Tape g, Tensor x) => g.RmsNorm(x, _weight, model.RmsNormEps);
}
