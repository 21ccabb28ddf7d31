using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Training;

/// <summary>A NaN stops the run, and the message says when and where it began.</summary>
public sealed class DivergenceTests
{
    private const int Context = 16;

    [Theory]
    [InlineData("dynamic-moe", "model.layers.1.mlp.gate.weight")]
    [InlineData("dynamic-moe", "model.layers.0.mlp.experts.0.down_proj.weight")]
    [InlineData("mixtral", "model.embed_tokens.weight")]
    public void ABrokenParameterIsNamed(string family, string name)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Texts.Model(backend, family);
        using Trainer trainer = new(model, Texts.Data(model, Context), Texts.Options(Context));
        trainer.Step();
        Put(model, name, float.NaN);
        ArithmeticException e = Assert.Throws<ArithmeticException>(() => trainer.Step());
        Assert.StartsWith("step 2: the ", e.Message, StringComparison.Ordinal);
        Assert.Contains($"broke: {name} (", e.Message, StringComparison.Ordinal);
        Assert.Equal(1, trainer.StepsTaken);
        using TemporaryFolder folder = new();
        Assert.Contains(name, Assert.Throws<ArithmeticException>(() => trainer.SaveState(folder["state"])).Message, StringComparison.Ordinal);
        Assert.Empty(folder.Files);
    }

    /// <summary>Parameters that are finite, but too large for what is computed from them.</summary>
    [Theory]
    [InlineData("model.layers.1.mlp.gate.weight", "router.1.")]
    [InlineData("lm_head.weight", "logits (")]
    [InlineData("model.layers.0.self_attn.o_proj.weight", "router.0.logits")]
    public void AnOverflowIsNamed(string parameter, string broken)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Texts.Model(backend, "dynamic-moe");
        TrainOptions options = Texts.Options(Context) with { Accumulate = 2, RouterLosses = [new RouterZLoss(1)] };
        using Trainer trainer = new(model, Texts.Data(model, Context), options);
        Tensor p = model.Weights.All.Single(p => p.Name == parameter);
        backend.Fill(p, 3e38f);
        Assert.Contains($"step 1: the ", Assert.Throws<ArithmeticException>(() => trainer.Step()).Message, StringComparison.Ordinal);
        Assert.Contains($"broke: {broken}", Assert.Throws<ArithmeticException>(() => trainer.Step()).Message, StringComparison.Ordinal);
    }

    /// <summary>The loss is finite here, the way back is not.</summary>
    [Fact]
    public void ABrokenGradientIsNamed()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Texts.Model(backend, "dynamic-moe");
        TrainOptions options = Texts.Options(Context) with { RouterLosses = [new LoadBalanceLoss(float.PositiveInfinity)] };
        using Trainer trainer = new(model, Texts.Data(model, Context), options);
        string message = Assert.Throws<ArithmeticException>(() => trainer.Step()).Message;
        Assert.Contains("the gradient norm is NaN", message, StringComparison.Ordinal);
        Assert.Contains("broke: grad.model.layers.1.", message, StringComparison.Ordinal);
    }

    [Fact]
    public void ALearningRateBeyondReasonStopsWithinAFewSteps()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Texts.Model(backend, "dynamic-moe");
        TrainOptions options = Texts.Options(Context);
        using Trainer trainer = new(model, Texts.Data(model, Context), options with { LearningRate = options.LearningRate with { Peak = 1e30f } });
        List<TrainStep> steps = [];
        string message = Assert.Throws<ArithmeticException>(() => trainer.Run(steps.Add)).Message;
        Assert.InRange(steps.Count, 1, 3);
        Assert.StartsWith($"step {steps.Count + 1}: ", message, StringComparison.Ordinal);
        Assert.Contains("broke: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("none", message, StringComparison.Ordinal);
    }

    private static void Put(LanguageModel model, string name, float value)
    {
        Tensor p = model.Weights.All.Single(p => p.Name == name);
        float[] values = model.Backend.ToFloats(p);
        values[^1] = value;
        model.Backend.Upload<float>(values, p);
    }
}
