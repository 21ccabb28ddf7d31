using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd;

/// <summary>
/// The way back of one op: knows what the forward saved and adds to the gradients of the op's inputs. Lives as a nested
/// class <c>Back</c> in the op's own file, so forward and backward are read together.
/// </summary>
public abstract class Node
{
    /// <summary>Adds the inputs' gradients, given the output's.</summary>
    /// <param name="g">The tape; <see cref="Tape.Grad"/> names the place to add to, null where none is wanted.</param>
    /// <param name="dy">Gradient of the output; scratch after this call.</param>
    public abstract void Backward(Tape g, Tensor dy);

    /// <summary>"RmsNorm" for <c>RmsNormOp.Back</c>.</summary>
    public string OpName
    {
        get
        {
            string name = GetType().DeclaringType?.Name ?? GetType().Name;
            return name.EndsWith("Op", StringComparison.Ordinal) ? name[..^2] : name;
        }
    }
}
