using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd;

/// <summary>
/// Compares the gradients an op computes with finite differences of its forward pass: nudge each input element both ways,
/// see how much a random projection of the output moves, and expect the gradient to have said so.
/// </summary>
public static class GradCheck
{
    /// <summary>The largest disagreement found, and where.</summary>
    /// <param name="Error">|numeric − analytic| / (largest |analytic| of that input + 1e-3)</param>
    public readonly record struct Result(float Error, string Where);

    /// <summary>Checks every element of every input that requires a gradient.</summary>
    /// <param name="op">Builds the output from the inputs; called many times.</param>
    /// <param name="inputs">Leaves; those with <see cref="Tensor.RequiresGrad"/> are checked.</param>
    /// <param name="step">The nudge; errors fall with its square until F32 rounding takes over.</param>
    public static Result Run(IBackend backend, Func<Tape, Tensor[], Tensor> op, Tensor[] inputs, float step = 1f / 128)
    {
        foreach (Tensor x in inputs)
            if (x.RequiresGrad)
                x.Grad = backend.Zeros(x.Shape);
        float[] probe;
        using (Tape g = Tape.Training(backend))
        {
            Tensor y = op(g, inputs);
            CounterRandom random = new(Seed: 7, Stream: 7);
            probe = [.. Enumerable.Range(0, (int)y.Count).Select(i => random.Normal((ulong)i))];
            g.Backward(y, probe);
        }

        Result worst = new(0, "");
        foreach ((int index, Tensor x) in inputs.Index())
        {
            if (x.Grad is not { } dx)
                continue;
            float[] values = backend.ToFloats(x), analytic = backend.ToFloats(dx);
            backend.Free(dx);
            x.Grad = null;
            float scale = analytic.Max(MathF.Abs) + 1e-3f;
            for (int i = 0; i < values.Length; i++)
            {
                float kept = values[i];
                double up = Nudged(kept + step), down = Nudged(kept - step);
                Nudged(kept);
                float error = (float)Math.Abs((up - down) / ((kept + step) - (kept - step)) - analytic[i]) / scale;
                if (float.IsNaN(error))
                    error = float.PositiveInfinity;   // else the next element, better than nothing, would take its place
                if (error > worst.Error)
                    worst = new(error, $"input {index} element {i}: numeric {(up - down) / (2 * step):g5}, analytic {analytic[i]:g5}");

                double Nudged(float value)
                {
                    values[i] = value;
                    backend.Upload<float>(values, x);
                    return Projected(backend, op, inputs, probe);
                }
            }
        }
        return worst;
    }

    private static double Projected(IBackend backend, Func<Tape, Tensor[], Tensor> op, Tensor[] inputs, float[] probe)
    {
        using Tape g = Tape.Inference(backend);
        float[] y = backend.ToFloats(op(g, inputs));
        double sum = 0;
        for (int i = 0; i < y.Length; i++)
            sum += (double)y[i] * probe[i];
        return sum;
    }
}
