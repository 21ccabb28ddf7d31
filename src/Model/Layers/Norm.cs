using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>What stands before each sub-layer and before the output projection, and on queries and keys where a model has it there.</summary>
public abstract class Norm
{
    public abstract Tensor Forward(Tape g, Tensor x);

    /// <summary>The kind that the model has.</summary>
    /// <param name="size">Length of the vectors that are normalised.</param>
    public static Norm Of(ModelConfig model, WeightScope w, int size) => model.LayerNorm ? new LayerNorm(model, w, size) : new RmsNorm(model, w, size);
}

/// <summary>y = x / rms(x) · weight; a row may hold several vectors.</summary>
/// <param name="eps">Null for the model's.</param>
public sealed class RmsNorm(ModelConfig model, WeightScope w, int size, float? eps = null) : Norm
{
    private readonly Tensor _weight = w.GetF32("weight", [size], Init.Ones);

    public override Tensor Forward(Tape g, Tensor x) => g.RmsNorm(x, _weight, eps ?? model.RmsNormEps);
}

/// <summary>y = (x − mean x) / √(var x + eps) · weight + bias</summary>
public sealed class LayerNorm(ModelConfig model, WeightScope w, int size) : Norm
{
    private readonly Tensor _weight = w.GetF32("weight", [size], Init.Ones), _bias = w.GetF32("bias", [size], Init.Zeros);

    public override Tensor Forward(Tape g, Tensor x) => g.LayerNorm(x, _weight, _bias, model.RmsNormEps);
}
