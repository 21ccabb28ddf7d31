using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Layers;

/// <summary>y = x · weightᵀ (+ bias).   x [T, D] → y [T, N]</summary>
public sealed class Projection(ModelConfig model, WeightScope w, int outputs, int inputs, bool bias)
{
    private readonly Tensor _weight = w.Get("weight", [outputs, inputs], Init.Normal(model.InitStd));
    private readonly Tensor? _bias = bias ? w.GetF32("bias", [outputs], Init.Zeros) : null;

    public Tensor Forward(Tape g, Tensor x) => g.Linear(x, _weight, _bias);
}
