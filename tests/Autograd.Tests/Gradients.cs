using MoeFromScratch.Tensors;

namespace MoeFromScratch.Autograd.Tests;

/// <summary>Every row of the table: the gradient is the slope, whatever else is wanted, and is added to what is there.</summary>
public abstract class Gradients(IBackend backend) : OnBackend(backend)
{
    public static TheoryData<string> Rows => [.. GradientRows.All.Select(row => row.Name)];

    [Theory, MemberData(nameof(Rows))]
    public void Gradient_is_the_slope(string name)
    {
        GradientRow row = GradientRows.Named(name);
        Tensor[] x = row.Inputs(Backend);
        GradCheck.Result worst = GradCheck.Run(Backend, row.Forward, x, GradientRow.Step);
        Free(x);
        Assert.True(worst.Error <= GradientRow.Tolerance, $"{name}: {worst}");
    }

    [Theory, MemberData(nameof(Rows))]
    public void Gradient_does_not_depend_on_which_other_inputs_want_one(string name)
    {
        GradientRow row = GradientRows.Named(name);
        float[][] together = Of(row, _ => true);
        for (int i = 0; i < together.Length; i++)
            Assert.Equal(together[i], Of(row, input => input == i)[i]);
    }

    [Theory, MemberData(nameof(Rows))]
    public void Gradient_adds_to_what_is_there(string name)
    {
        GradientRow row = GradientRows.Named(name);
        float[][] once = Of(row, _ => true), onto = Of(row, _ => true, before: 0.25f);
        foreach ((float[] dx, float[] sum) in once.Zip(onto))
            foreach ((float d, float s) in dx.Zip(sum))
                Assert.Equal(0.25f + d, s, 1e-5f * (1 + MathF.Abs(d)));
    }

    /// <summary>One gradient per input, empty for those that want none.</summary>
    private float[][] Of(GradientRow row, Func<int, bool> wants, float before = 0)
    {
        Tensor[] x = row.Inputs(Backend);
        for (int i = 0; i < x.Length; i++)
            if (x[i].RequiresGrad = wants(i))
                Backend.Fill(x[i].Grad = Backend.New(x[i].Shape), before);
        using (Tape g = Tape.Training(Backend))
        {
            Tensor y = row.Forward(g, x);
            g.Backward(y, Values.Normal(y.Count, stream: 99));
        }
        float[][] result = [.. x.Select(t => t.Grad is { } dx ? Backend.ToFloats(dx) : [])];
        Free(x);
        return result;
    }

    private void Free(Tensor[] x)
    {
        foreach (Tensor t in x)
        {
            if (t.Grad is { } dx)
                Backend.Free(dx);
            Backend.Free(t);
        }
    }
}
