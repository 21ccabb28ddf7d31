using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Contract;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Tests.Parity;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;
using MoeFromScratch.Tensors.Checkpoints;

namespace MoeFromScratch.Model.Tests.Training;

/// <summary>A run that stopped and went on is the run that never stopped.</summary>
public sealed class ResumeTests : IDisposable
{
    private const int Context = 16;
    private readonly TemporaryFolder _folder = new();

    private static TrainOptions Options => Texts.Options(Context) with
    {
        Steps = 12,
        Accumulate = 2,
        LearningRate = new LrSchedule(LrDecay.Cosine, Peak: 1e-2f, WarmupSteps: 3, TotalSteps: 12, Final: 1e-3f),
        RouterLosses = [new LoadBalanceLoss(1e-2f), new RouterEntropyLoss(1e-3f)],
    };

    public void Dispose() => _folder.Dispose();

    /// <summary>Losses, norms, and the bytes of parameters, moments and everything else the state holds; on any number of threads.</summary>
    [Theory]
    [InlineData("dynamic-moe", 1, 1)]
    [InlineData("dynamic-moe", 1, 2)]
    [InlineData("dynamic-moe", 2, 1)]
    [InlineData("mixtral", 2, 2)]
    public void ContinuesBitByBit(string family, int threadsBefore, int threadsAfter)
    {
        List<TrainStep> whole = [], parts = [];
        Run(family, threadsBefore, trainer =>
        {
            trainer.Run(whole.Add);
            trainer.SaveState(_folder["whole"]);
        });
        Run(family, threadsBefore, trainer =>
        {
            for (int i = 0; i < 5; i++)
                parts.Add(trainer.Step());
            trainer.SaveState(_folder["five"]);
        });
        Run(family, threadsAfter, trainer =>
        {
            trainer.LoadState(_folder["five"]);
            Assert.Equal(5, trainer.StepsTaken);
            trainer.Validate();
            trainer.Run(parts.Add);
            trainer.SaveState(_folder["parts"]);
        });
        Assert.Equal(Enumerable.Range(1, 12), parts.Select(static s => s.Step));
        Bits.Equal("steps", Numbers(whole), Numbers(parts));
        Assert.Equal(File.ReadAllBytes(_folder["whole"]), File.ReadAllBytes(_folder["parts"]));
        Assert.NotEqual(File.ReadAllBytes(_folder["whole"]), File.ReadAllBytes(_folder["five"]));

        static float[] Numbers(List<TrainStep> steps) =>
            [.. steps.SelectMany(static s => (float[])[s.Loss, s.GradNorm, s.LearningRate, .. s.RouterLosses, .. s.ExpertsPerToken])];
    }

    public static TheoryData<string> Differences => ["steps", "batch size", "context", "accumulation", "learning rate", "optimizer", "clip norm", "seed", "choice estimator",
        "router losses", "tokenizer", "model", "data"];

    [Theory]
    [MemberData(nameof(Differences))]
    public void OtherOptionsAreRefusedByName(string what)
    {
        Run("dynamic-moe", 1, static _ => { }, save: "state");
        TrainOptions other = what switch
        {
            "steps" => Options with { Steps = 13 },
            "batch size" => Options with { BatchSize = 3 },
            "context" => Options with { Context = 8 },
            "accumulation" => Options with { Accumulate = 1 },
            "learning rate" => Options with { LearningRate = Options.LearningRate with { Final = 2e-3f } },
            "optimizer" => Options with { AdamW = new AdamWOptions { Beta2 = 0.96 } },
            "clip norm" => Options with { ClipNorm = 2 },
            "seed" => Options with { Seed = 12 },
            "choice estimator" => Options with { EstimateChoice = true },
            "router losses" => Options with { RouterLosses = [new LoadBalanceLoss(1e-2f, BalanceScope.Model), new RouterEntropyLoss(1e-3f)] },
            _ => Options,
        };
        using IBackend backend = Machines.Make(Machines.Cpu(8, 1));
        using LanguageModel source = Texts.Model(backend, "dynamic-moe");
        using LanguageModel model = LanguageModel.Create(backend, source.Family,
            what == "model" ? source.Config with { RmsNormEps = 1e-5f } : source.Config, seed: 2,
            what == "tokenizer" ? Tokenizer.TrainCharacters(Texts.Repetitive.Replace('m', 'M')) : source.Tokenizer);
        int[] tokens = source.Tokenizer!.Encode(Texts.Repetitive);
        if (what == "data")
            tokens[^1]++;
        using Trainer trainer = new(model, new TokenData(tokens, other.Context), other);
        CheckpointException e = Assert.Throws<CheckpointException>(() => trainer.LoadState(_folder["state"]));
        Assert.Contains($"cannot resume: {what} was ", e.Message, StringComparison.Ordinal);
        Assert.Equal(_folder["state"], e.File);
    }

    /// <summary>What changes nothing in a result may change: here, checkpointed blocks.</summary>
    [Fact]
    public void CheckpointedBlocksContinueARunWithoutThem()
    {
        Run("dynamic-moe", 1, static trainer => trainer.Step(), save: "state");
        Run("dynamic-moe", 1, trainer => trainer.LoadState(_folder["state"]), options: Options with { CheckpointBlocks = true });
    }

    [Fact]
    public void AFileThatIsNoStateIsRefusedAndChangesNothing()
    {
        Run("dynamic-moe", 1, trainer =>
        {
            trainer.SaveState(_folder["first"]);
            byte[] bytes = File.ReadAllBytes(_folder["first"]);
            File.WriteAllBytes(_folder["short"], bytes[..^4]);
            Assert.Throws<CheckpointException>(() => trainer.LoadState(_folder["short"]));
            Assert.Throws<CheckpointException>(() => trainer.LoadState(_folder["none"]));
            trainer.Model.Save(_folder["model"]);
            Assert.Contains("not a training state",
                Assert.Throws<CheckpointException>(() => trainer.LoadState(Path.Combine(_folder["model"], "model.safetensors"))).Message, StringComparison.Ordinal);

            string renamed = System.Text.Encoding.Latin1.GetString(bytes).Replace("weight.model.norm.weight", "weight.model.nose.weight", StringComparison.Ordinal);
            File.WriteAllBytes(_folder["renamed"], System.Text.Encoding.Latin1.GetBytes(renamed));
            Assert.Equal("weight.model.norm.weight", Assert.Throws<CheckpointException>(() => trainer.LoadState(_folder["renamed"])).Tensor);
            trainer.SaveState(_folder["second"]);
            Assert.Equal(bytes, File.ReadAllBytes(_folder["second"]));
        });
    }

    private void Run(string family, int threads, Action<Trainer> act, TrainOptions? options = null, string? save = null)
    {
        using IBackend backend = Machines.Make(Machines.Cpu(8, threads));
        using LanguageModel model = Texts.Model(backend, family);
        using Trainer trainer = new(model, Texts.Data(model, Context), options ?? Options);
        act(trainer);
        if (save is not null)
            trainer.SaveState(_folder[save]);
    }
}
