using MoeFromScratch.Contract;

namespace MoeFromScratch.Tensors.Tests.Numerics;

/// <summary>Gradients that no golden file covers, against finite differences of the reference's own forward.</summary>
public sealed class ReferenceGradientTests : IDisposable
{
    private readonly ReferenceBackend _backend = new(poison: true);
    private int _streams;

    public void Dispose() => _backend.Dispose();

    [Theory]
    [InlineData(true, 0, false, 3)]
    [InlineData(true, 2, false, 3)]
    [InlineData(false, 0, true, 3)]
    [InlineData(true, 3, true, 3)]
    [InlineData(true, 0, false, 2)]
    [InlineData(true, 2, false, 5, true)]
    [InlineData(false, 0, true, 3, true)]
    public void Attention_with_window_mask_and_cached_keys(bool causal, int window, bool masked, int valueDim, bool withSinks = false)
    {
        AttentionLayout layout = new(Heads: 2, KvHeads: 1, HeadDim: 3, Scale: 0.6f, causal, window, valueDim);
        Tensor q = Normal([5, 6]), k = Normal([7, 3]), v = Normal([7, valueDim]), dy = Normal([5, 2 * valueDim]);
        Tensor? sinks = withSinks ? Normal([2]) : null, dsinks = withSinks ? _backend.Zeros([2]) : null;
        Tensor sequences = _backend.From([2, 4], [0, 2, 0, 4, 2, 3, 4, 3]);
        Tensor? visible = masked ? _backend.From([5, 4], [1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]) : null;
        Tensor y = _backend.New([5, 2 * valueDim]), lse = _backend.New([5, 2]);

        _backend.Attention(q, k, v, sequences, visible, sinks, layout, y, lse);
        Tensor dq = Zeros(q), dk = Zeros(k), dv = Zeros(v);
        _backend.AttentionGrad(q, k, v, sequences, visible, sinks, layout, y, lse, dy, dq, dk, dv, dsinks);
        (Tensor, Tensor)[] sloped = [(q, dq), (k, dk), (v, dv)];
        AssertSlopes(withSinks ? [.. sloped, (sinks!, dsinks!)] : sloped, y, dy, () => _backend.Attention(q, k, v, sequences, visible, sinks, layout, y, lse));
    }

    [Fact]
    public void Grouped_linear()
    {
        SlotRange range = new(_backend.From([4], [0, 1, 1, 4]), 0, 3);   // the second expert has no slot
        Tensor x = Normal([4, 3]), dy = Normal([4, 2]), y = _backend.New([4, 2]);
        Tensor[] w = [Normal([2, 3]), Normal([2, 3]), Normal([2, 3])], dw = [Zeros(w[0]), Zeros(w[1]), Zeros(w[2])];
        Tensor dx = Zeros(x);
        _backend.GroupedLinearGradInput(dy, range, w, dx);
        _backend.GroupedLinearGradWeight(dy, x, range, dw);
        AssertSlopes([(x, dx), (w[0], dw[0]), (w[1], dw[1]), (w[2], dw[2])], y, dy, () => _backend.GroupedLinear(x, range, w, y));
    }

    [Fact]
    public void Combine()
    {
        Tensor token = _backend.From([5], [2, 0, 1, 2, 2]);
        SlotRange range = new(_backend.From([4], [0, 1, 4, 5]), 1, 1);   // slots 1 … 3 only
        Tensor x = Normal([5, 3]), weight = Normal([5]), dy = Normal([3, 3]), y = _backend.New([3, 3]), dx = Zeros(x), dWeight = Zeros(weight);
        _backend.CombineGrad(x, weight, token, range, dy, dx, dWeight);
        AssertSlopes([(x, dx), (weight, dWeight)], y, dy, () =>
        {
            _backend.Fill(y, 0);
            _backend.Combine(x, weight, token, range, y);
        });
    }

    [Fact]
    public void Gather_slots()
    {
        Tensor token = _backend.From([3], [1, 0, 1]), expert = _backend.From([3], [0, 1, 1]), offsets = _backend.From([3], [0, 1, 3]);
        Tensor x = Normal([2, 2]), dy = Normal([3]), y = _backend.New([3]), dx = Zeros(x);
        _backend.GatherSlotsGrad(dy, token, expert, offsets, dx);
        AssertSlopes([(x, dx)], y, dy, () => _backend.GatherSlots(x, token, expert, offsets, y));
    }

    /// <summary>dx[i] = (L(x + h eᵢ) − L(x − h eᵢ)) / 2h with L = Σ y · dy, for every element of every input.</summary>
    private static void AssertSlopes((Tensor X, Tensor Dx)[] inputs, Tensor y, Tensor dy, Action forward)
    {
        const float H = 1f / 64;   // a power of two, so that x ± h is nearly exact; the error is of the order of h²
        foreach ((Tensor x, Tensor dx) in inputs)
            for (int i = 0; i < x.Count; i++)
            {
                float at = x.Floats[i];
                double slope = (Loss(at + H) - Loss(at - H)) / (2 * H);
                x.Floats[i] = at;
                Assert.Equal(slope, dx.Floats[i], 1e-3);

                double Loss(float value)
                {
                    x.Floats[i] = value;
                    forward();
                    double sum = 0;
                    for (int j = 0; j < y.Count; j++)
                        sum += (double)y.Floats[j] * dy.Floats[j];
                    return sum;
                }
            }
    }

    private Tensor Normal(Shape shape) => _backend.From(shape, new Noise((ulong)_streams++).Normals(shape.Count));

    private Tensor Zeros(Tensor like) => _backend.Zeros(like.Shape);
}
