using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>One case of an op's gradient check.</summary>
/// <param name="Op">The class with the op and its nested node: <c>typeof(RmsNormOp)</c>.</param>
/// <param name="Case">What is special about it.</param>
/// <param name="Leaves">The inputs that a gradient flows to.</param>
/// <param name="Forward">The op, or a few, on those inputs; index lists and masks are made on the tape.</param>
public sealed record GradientRow(Type Op, string Case, Leaf[] Leaves, Func<Tape, Tensor[], Tensor> Forward)
{
    /// <summary>
    /// The nudge, a balance of the two errors of a central difference: F32 rounding of the outputs, about 1e-7 / step, and
    /// the next term of the series, step² / 6 times the third derivative. Both are near 1e-5 here.
    /// </summary>
    public const float Step = 1f / 128;

    /// <summary>Largest disagreement allowed, as a share of the input's largest gradient. The worst row needs half of it, most a twentieth.</summary>
    public const float Tolerance = 4e-4f;

    public string Name => $"{Op.Name[..^2]}: {Case}";

    /// <summary>Fresh inputs, all of them wanting a gradient; the caller frees them.</summary>
    public Tensor[] Inputs(IBackend backend) =>
        [.. Leaves.Select((leaf, i) =>
        {
            float[] values = Values.Normal(leaf.Shape.Count, stream: i);
            Tensor x = backend.From(leaf.Shape, leaf.Map is null ? values : Array.ConvertAll(values, leaf.Map));
            x.RequiresGrad = true;
            return x;
        })];

    /// <summary>The types of the nodes that the forward pass records, in order.</summary>
    public List<Type> RecordedNodes()
    {
        using ReferenceBackend backend = new(poison: true);
        using Tape g = Tape.Training(backend);
        Forward(g, Inputs(backend));
        return [.. g.Recorded.Select(node => node!.GetType())];
    }

    public override string ToString() => Name;
}

/// <summary>An input of a gradient check: normal values, moved by <paramref name="Map"/> to where the op is smooth.</summary>
public sealed record Leaf(Shape Shape, Converter<float, float>? Map = null);
