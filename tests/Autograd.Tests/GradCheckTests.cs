using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>The check itself can fail: it finds one spoiled element, and says which.</summary>
public sealed class GradCheckTests
{
    [Fact]
    public void A_true_gradient_passes()
    {
        GradCheck.Result result = Check(d => d);
        Assert.True(result.Error < 1e-5f, result.ToString());
    }

    public static TheoryData<string> Faults => [.. Spoilers.Keys];

    private static readonly Dictionary<string, Func<float, float>> Spoilers = new()
    {
        ["forgotten"] = _ => 0,
        ["wrong sign"] = d => -d,
        ["counted twice"] = d => 2 * d,
        ["one percent too much"] = d => 1.01f * d,
        ["not a number"] = _ => float.NaN,
        ["infinite"] = _ => float.NegativeInfinity,
    };

    [Theory, MemberData(nameof(Faults))]
    public void One_wrong_element_is_found_and_named(string fault)
    {
        GradCheck.Result result = Check(Spoilers[fault]);
        Assert.False(result.Error <= GradientRow.Tolerance, result.ToString());
        Assert.StartsWith("input 0 element 3:", result.Where, StringComparison.Ordinal);
    }

    private static GradCheck.Result Check(Func<float, float> spoil)
    {
        using ReferenceBackend backend = new(poison: true);
        Tensor x = backend.From([6], Values.Normal(6, stream: 0));
        x.RequiresGrad = true;
        GradCheck.Result result = GradCheck.Run(backend, (g, x) => g.Spoiled(x[0], element: 3, spoil), [x], GradientRow.Step);
        Assert.Equal(1, backend.LiveBuffers);
        return result;
    }
}
