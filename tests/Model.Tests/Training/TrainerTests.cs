using MoeFromScratch.Autograd;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Autograd.Weights;
using MoeFromScratch.Model.Moe;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Moe.Routers;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tests.Routers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Training.Conversations;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests.Training;

public sealed class TrainerTests
{
    private const int Context = 16;
    private static readonly RouterLoss[] RouterLosses = [new LoadBalanceLoss(1e-2f), new RouterEntropyLoss(1e-3f), new RouterZLoss(1e-3f)];

    /// <summary>From the ln V of guessing to a small share of it, on text it was not shown too.</summary>
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("mixtral")]
    public void LearnsARepetitiveText(string family)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Texts.Model(backend, family);
        using Trainer trainer = new(model, Texts.Data(model, Context), Texts.Options(Context) with { RouterLosses = RouterLosses });
        float guessing = MathF.Log(model.Config.VocabSize);
        Assert.Equal(guessing, trainer.Validate(), 0.25f * guessing);
        List<TrainStep> steps = [];
        trainer.Run(steps.Add);

        Assert.Equal(Enumerable.Range(1, 60), steps.Select(static s => s.Step));
        Assert.True(steps[^1].Loss < 0.25f * guessing, $"{steps[^1].Loss} after 60 steps");
        Assert.True(trainer.Validate() < 0.25f * guessing);
        Assert.Equal(trainer.Validate(), trainer.Validate(windows: 1_000_000));
        Assert.All(steps, s =>
        {
            Assert.Equal(RouterLosses.Length, s.RouterLosses.Count);
            Assert.Equal(model.Config.Layers.Count, s.ExpertsPerToken.Count);
            Assert.All(s.ExpertsPerToken, e => Assert.InRange(e, 1, 6));
            Assert.True(s.GradNorm > 0 && s.TokensPerSecond > 0);
        });
    }

    /// <summary>The same seed gives the same losses to the last bit, for any number of threads and with checkpointed blocks; another does not.</summary>
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("mixtral")]
    public void SameSeedSameLosses(string family)
    {
        float[] first = Losses(threads: 1, seed: 7);
        Bits.Equal("losses", first, Losses(threads: 1, seed: 7));
        Bits.Equal("losses", first, Losses(threads: 2, seed: 7));
        Bits.Equal("losses", first, Losses(threads: 2, seed: 7, checkpoint: true));
        Assert.NotEqual(first, Losses(threads: 1, seed: 8));

        float[] Losses(int threads, ulong seed, bool checkpoint = false)
        {
            using IBackend backend = Machines.Make(Machines.Cpu(8, threads));
            using LanguageModel model = Texts.Model(backend, family);
            TrainOptions options = Texts.Options(Context) with { Steps = 8, Seed = seed, RouterLosses = RouterLosses, CheckpointBlocks = checkpoint };
            using Trainer trainer = new(model, Texts.Data(model, Context), options);
            List<float> losses = [];
            trainer.Run(s => losses.AddRange([s.Loss, s.GradNorm, .. s.RouterLosses]));
            return [.. losses];
        }
    }

    /// <summary>Two micro-batches of four windows are one batch of those eight: its loss and the norm of its gradient.</summary>
    [Theory]
    [InlineData("dynamic-moe")]
    [InlineData("mixtral")]
    public void AccumulatedMicroBatchesAreOneBatch(string family)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 2));
        using LanguageModel model = Texts.Model(backend, family);
        TokenData data = Texts.Data(model, Context);
        TrainOptions options = Texts.Options(Context) with { BatchSize = 4, Accumulate = 2 };

        int half = 4 * Context;
        int[] inputs = new int[2 * half], labels = new int[2 * half];
        for (int micro = 0; micro < 2; micro++)
            data.Train(options.Seed, step: 1, micro, inputs.AsSpan(micro * half, half), labels.AsSpan(micro * half, half));
        Assert.NotEqual(inputs[..half], inputs[half..]);
        float loss, norm;
        using (Tape g = Tape.Training(backend))
        {
            Tensor logits = model.Transformer.Forward(g, Batch.Packed(g, inputs, [.. Enumerable.Repeat(Context, 8)]), []).Logits;
            LossTerms terms = Loss.Of(g, logits, labels, 1f / labels.Length, [], []);
            loss = backend.ToFloats(terms.Total)[0];
            g.Backward(terms.Total);
            norm = GradNorm.Of(backend, model.Weights.All);
        }

        using Trainer trainer = new(model, data, options);
        TrainStep step = trainer.Step();
        Assert.Equal(loss, step.Loss, 1e-6f * loss);
        Assert.Equal(norm, step.GradNorm, 1e-5f * norm);
    }

    /// <summary>
    /// A step's gradient is that of the mean over all its tokens, as one pass computes it; it is clipped once, and AdamW, from its closed
    /// form for a first step, takes it: p · (1 − lr · decay of matrices) − lr · g / (|g| + eps).
    /// </summary>
    [Fact]
    public void AStepIsAdamWsOnTheClippedGradient()
    {
        const float Rate = 0.25f, Decay = 0.5f, Eps = 0.03f, Clip = 0.5f;
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = Texts.Model(backend, "mixtral"), twin = Texts.Model(backend, "mixtral");
        EncodedConversation[] talks = [.. Enumerable.Range(0, 5).Select(n => new EncodedConversation(
            twin.Tokenizer!.Encode("the cat sat on the mat"[..(8 + 3 * n)]), [.. Enumerable.Range(0, 8 + 3 * n).Select(t => t >= 7 - n)]))];
        ConversationData data = new(talks, maxLength: 100, validationShare: 0);
        RouterZLoss z = new(0.3f);
        TrainOptions options = Texts.Options(100) with
        {
            BatchSize = 3,
            Accumulate = 2,
            RouterLosses = [z],
            ClipNorm = Clip,
            LearningRate = new LrSchedule(LrDecay.Constant, Rate, WarmupSteps: 0, TotalSteps: 1),
            AdamW = new AdamWOptions { Eps = Eps, WeightDecay = Decay },
        };
        MicroBatch[] parts = [data.Train(options.Seed, 1, 0, 3, 2), data.Train(options.Seed, 1, 1, 3, 2)];
        Assert.Equal([3, 2], parts.Select(static p => p.Lengths.Length));
        int[] labels = [.. parts.SelectMany(static p => p.Labels)];
        float norm;
        using (Tape g = Tape.Training(backend))
        {
            List<LayerOutput> layers = [];
            Batch batch = Batch.Packed(g, [.. parts.SelectMany(static p => p.Tokens)], [.. parts.SelectMany(static p => p.Lengths)]);
            g.Backward(Loss.Of(g, twin.Transformer.Forward(g, batch, layers).Logits, labels, 1f / labels.Count(static l => l >= 0), layers, [z]).Total);
            norm = GradNorm.Of(backend, twin.Weights.All);
        }
        Assert.True(norm > 2 * Clip, $"a norm of {norm} is not clipped by much");

        using Trainer trainer = new(model, data, options);
        Assert.Equal(norm, trainer.Step().GradNorm, 1e-5f * norm);
        foreach ((Tensor before, Tensor after) in twin.Weights.All.Zip(model.Weights.All))
        {
            float decay = before.Shape.Rank < 2 ? 0 : Decay;
            float[] p = backend.ToFloats(before), g = backend.ToFloats(before.Grad!), moved = backend.ToFloats(after);
            for (int i = 0; i < p.Length; i++)
            {
                float clipped = g[i] * Clip / norm;
                Assert.Equal(p[i] * (1 - Rate * decay) - Rate * clipped / (MathF.Abs(clipped) + Eps), moved[i], 1e-5f);
            }
        }
    }

    /// <summary>Checkpointed blocks are computed a second time, with the same noise.</summary>
    [Fact]
    public void CheckpointedBlocksRouteTwice()
    {
        Assert.Equal([(11, 1), (11, 2)], Noise(checkpoint: false));
        Assert.Equal([(11, 1), (11, 1), (11, 2), (11, 2)], Noise(checkpoint: true));

        static List<(ulong, long)?> Noise(bool checkpoint)
        {
            using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
            List<(ulong, long)?> seen = [];
            using LanguageModel model = Listening(backend, seen);
            using Trainer trainer = new(model, new TokenData([.. Enumerable.Range(0, 400).Select(static i => i % 5)], Context), Texts.Options(Context) with { Steps = 2, CheckpointBlocks = checkpoint });
            trainer.Run(static _ => { });
            return seen;
        }
    }

    /// <summary>No two passes of a run share their random numbers, whether they are steps or parts of one; a resumed run counts on.</summary>
    [Fact]
    public void EveryPassHasItsOwnNoise()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        List<(ulong, long)?> seen = [];
        using LanguageModel model = Listening(backend, seen);
        TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], Context);
        using Trainer trainer = new(model, data, Texts.Options(Context) with { Steps = 2, Accumulate = 3 });
        trainer.Run(static _ => { });
        Assert.Equal([.. Enumerable.Range(1, 6).Select(static n => ((ulong, long)?)(11ul, n))], seen);
        trainer.Validate();
        Assert.Null(seen[^1]);
    }

    /// <summary>A model of one layer whose router writes down what noise it was given.</summary>
    private static LanguageModel Listening(IBackend backend, List<(ulong, long)?> seen)
    {
        ModelConfig tiny = Tiny.Config("mixtral");
        MoeConfig layer = new(new ListeningRouterConfig(seen), ((MoeConfig)tiny.Layers[0]).Banks);
        return LanguageModel.Create(backend, new Homemade(), tiny with { Layers = [layer], RouterLosses = [] }, seed: 1);
    }

    /// <summary>Top-2, and it writes down what noise it was given.</summary>
    private sealed record ListeningRouterConfig(List<(ulong, long)?> Seen) : RouterConfig
    {
        public override Router Build(ModelConfig model, MoeConfig moe, WeightScope w) =>
            new ListeningRouter(Seen, new TopKRouterConfig(2).Build(model, moe, w));

        public override int MaxExperts(int numExperts) => 2;
    }

    private sealed class ListeningRouter(List<(ulong, long)?> seen, Router inner) : Router
    {
        public override Routing Route(Tape g, Tensor x, in RouterContext context)
        {
            seen.Add(context.Noise);
            return inner.Route(g, x, context);
        }
    }

    [Fact]
    public void StopsWhenAsked()
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel model = Texts.Model(backend, "mixtral");
        using Trainer trainer = new(model, Texts.Data(model, Context), Texts.Options(Context));
        using CancellationTokenSource stop = new();
        int taken = 0;
        trainer.Run(
            s =>
            {
                if (++taken == 3)
                    stop.Cancel();
            },
            stop.Token);
        Assert.Equal(3, taken);
    }

    /// <summary>A softmax over one chosen logit is 1: such a router would stay as it was drawn.</summary>
    [Fact]
    public void ARouterWithoutGradientIsRefused()
    {
        using IBackend backend = CpuBackend.Create(1);
        foreach ((RouterConfig router, bool learns) in new (RouterConfig, bool)[]
        {
            (new TopKRouterConfig(1, Renormalize: true), false), (new TopKRouterConfig(1, Renormalize: false), true), (new TopKRouterConfig(2), true),
            (new MoePlusPlusRouterConfig(1, MoePlusPlusGating.Mixtral), false), (new MoePlusPlusRouterConfig(1), true),
        })
        {
            ModelConfig tiny = Tiny.Config("mixtral");
            ModelConfig config = tiny with { Layers = [.. tiny.Layers.Cast<MoeConfig>().Select(l => l with { Router = router })], RouterLosses = [] };
            using LanguageModel model = LanguageModel.Create(backend, Tiny.Family("moe_from_scratch"), config, seed: 1);
            TokenData data = new([.. Enumerable.Range(0, 400).Select(static i => i % 5)], context: 12);
            if (learns)
                new Trainer(model, data, Texts.Options(context: 12)).Dispose();
            else
                Assert.Contains("has no gradient", Assert.Throws<ArgumentException>(() => new Trainer(model, data, Texts.Options(context: 12))).Message,
                    StringComparison.Ordinal);
        }
    }
}
