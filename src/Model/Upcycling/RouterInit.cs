using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Upcycling;

/// <summary>How the routers of an upcycled model start: the dense model has none.</summary>
/// <param name="Std">
/// Standard deviation of normal numbers; null for the model's own. With 0 all logits are 0; of a gate of two matrices the first is drawn
/// all the same, since two of zeros would keep each other's gradients at zero.
/// </param>
/// <param name="File">A safetensors file with the gates by their names in the new model, instead.</param>
public sealed record RouterInit(float? Std = null, string? File = null)
{
    /// <summary>Where a parameter of a gate comes from.</summary>
    /// <param name="name">Its name in the new model's file.</param>
    internal Origin Of(string name, Parameter parameter, Division division, TensorFiles? given)
    {
        if (given is not null)
            return given.Contains(name) ? new FromFile(File!, name) : throw new CheckpointException(File!, "is not there, and --router takes all gates from this file", name);
        bool isDrawn = parameter.Init.Std != 0 && !(Std == 0 && parameter.Path.EndsWith(".gate.0.weight", StringComparison.Ordinal));
        return new Drawn(Std is { } std && isDrawn ? Init.Normal(std) : parameter.Init) { Repeats = division.RouterRepeats, RepeatedRows = division.RepeatedRows };
    }
}
