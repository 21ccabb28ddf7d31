using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>y = x / rms(x) · weight, before each sub-layer and before the output projection.</summary>
public sealed class RmsNorm(ModelConfig model, WeightScope w)
{
    private readonly Tensor _weight = w.GetF32("weight", [model.HiddenSize], Init.Ones);

    public Tensor Forward(Tape g, Tensor x) => g.RmsNorm(x, _weight, model.RmsNormEps);
}
