using System.Text.Json.Nodes;
using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Ops;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Tests.Training;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Routers;

/// <summary>A router nobody thought of: the likeliest expert, weighted by the sigmoid of its logit (Llama 4).</summary>
public sealed record SigmoidRouterConfig : RouterConfig
{
    public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) =>
        new SigmoidRouter(w["gate"].GetF32("weight", [moe.NumExperts, model.HiddenSize], Init.Normal(model.InitStd)));

    public override int MaxExperts(int numExperts) => 1;
}

public sealed class SigmoidRouter(Tensor gate) : Router
{
    public override Routing Route(Tape g, Tensor x, in RouterContext context)
    {
        Tensor logits = g.Linear(x, gate), probs = g.Softmax(logits);       // [T, E]
        Tensor selected = g.New(probs.Shape);                               // [T, E]
        g.Backend.SelectTopK(probs, 1, selected);
        g.PublishConstant(selected);
        return Routing.Plan(g, logits, probs, selected, g.Mul(g.Unary<Sigmoid>(logits), selected), maxExperts: 1);
    }
}

/// <summary>One new file is all that a new router takes: it enters a config and trains.</summary>
public sealed class NewcomerTests
{
    [Fact]
    public void ARouterIsOneFile()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        ModelConfig tiny = Tiny.Config("mixtral");
        ModelConfig config = tiny with
        {
            InitStd = 0.1f,
            RouterLosses = [],
            Layers = [.. tiny.Layers.Cast<MoeConfig>().Select(static l => l with { Router = new SigmoidRouterConfig() })],
        };
        using LanguageModel model = LanguageModel.Create(backend, new Homemade(), config, seed: 1);
        TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
        using Trainer trainer = new(model, data, Texts.Options(context: 12) with { Steps = 25 });
        List<TrainStep> steps = [];
        trainer.Run(steps.Add);
        Assert.True(steps[^1].Loss < 0.3f * steps[0].Loss, $"{steps[0].Loss} to {steps[^1].Loss}");
        Assert.All(steps, static s => Assert.Equal([1f, 1f], s.ExpertsPerToken));
    }

    /// <summary>The families that checkpoints exist for refuse to write what their readers would misread.</summary>
    [Fact]
    public void OtherFamiliesDoNotPretendToKnowIt()
    {
        foreach (string name in new[] { "mixtral", "dynamic-moe" })
        {
            ModelConfig tiny = Tiny.Config(name);
            ModelConfig config = tiny with { Layers = [.. tiny.Layers.Cast<MoeConfig>().Select(static l => l with { Router = new SigmoidRouterConfig() })] };
            Assert.Throws<ArgumentException>(() => Tiny.Family(name).Write(config));
        }
    }
}

/// <summary>A family whose models are not read back.</summary>
public sealed class Homemade : Family
{
    public override string Name => "homemade";
    public override string Architecture => "Homemade";
    public override bool Recognises(ConfigJson json) => false;
    public override ModelConfig Read(ConfigJson json) => throw new NotSupportedException();
    public override JsonObject Write(ModelConfig config) => [];
    public override string NameInFile(string path) => path;
}
