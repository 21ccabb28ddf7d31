using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Optim;

/// <summary>The global 2-norm of all gradients, and what clips it.</summary>
public static class GradNorm
{
    /// <summary>√(Σ over parameters and elements of g²). One value crosses to the host.</summary>
    public static float Of(IBackend backend, IReadOnlyList<Tensor> parameters)
    {
        Tensor sum = backend.Zeros([1]);
        foreach (Tensor p in parameters)
            if (p.Grad is { } dp)
                backend.SumOfSquares(dp, sum);
        Span<float> value = stackalloc float[1];
        backend.Download(sum, value);
        backend.Free(sum);
        return MathF.Sqrt(value[0]);
    }

    /// <summary>min(1, max / (norm + 1e-6)), torch.nn.utils.clip_grad_norm_'s factor; 1 when <paramref name="max"/> is 0.</summary>
    public static float ClipScale(float norm, float max) => max > 0 ? MathF.Min(1, max / (norm + 1e-6f)) : 1;
}
