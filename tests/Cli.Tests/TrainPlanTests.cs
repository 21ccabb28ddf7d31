using System.CommandLine;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Cli.Training;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Tests;

/// <summary>What the command line asks for is what a run is made with.</summary>
public sealed class TrainPlanTests : IDisposable
{
    private readonly Folder _folder = new();
    private readonly IBackend _backend = CpuBackend.Create(1);
    private readonly string _text, _talks;

    public TrainPlanTests()
    {
        _text = _folder.Write("text.txt", string.Concat(Enumerable.Repeat("the cat sat on the mat.\n", 100)));
        _talks = _folder.Write("talks.jsonl", string.Concat(Enumerable.Repeat("""{"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}""" + "\n", 20)));
    }

    public void Dispose()
    {
        _backend.Dispose();
        _folder.Dispose();
    }

    private TrainSettings Settings(params string[] args)
    {
        Command command = new("train");
        TrainCommandLine line = new(command);
        return line.Read(command.Parse(["--out", _folder["out"], .. args]));
    }

    private TrainPlan Plan(params string[] args) => TrainPlan.Make(Settings(args), _backend);

    [Fact]
    public void EveryOptionArrives()
    {
        IReadOnlyList<RouterLoss> none = [];
        using TrainPlan plan = Plan("--data", _text, "--steps", "50", "--batch-size", "3", "--eval-batch-size", "5", "--accumulate", "2", "--model-max-length", "24", "--gradient-checkpointing",
            "--learning-rate", "0.002", "--lr-scheduler-type", "linear", "--warmup-steps", "7", "--weight-decay", "0.03", "--max-grad-norm", "0.7", "--adam-beta1", "0.8", "--adam-beta2", "0.9",
            "--adam-epsilon", "1e-6", "--load-balance", "0.5", "--router-entropy", "0", "--router-z", "0.25", "--seed", "9");
        Assert.Equal(
            new TrainOptions
            {
                Steps = 50,
                BatchSize = 3,
                EvalBatchSize = 5,
                Accumulate = 2,
                Context = 24,
                CheckpointBlocks = true,
                LearningRate = new LrSchedule(LrDecay.Linear, 0.002f, WarmupSteps: 7, TotalSteps: 50),
                AdamW = new AdamWOptions { Beta1 = 0.8, Beta2 = 0.9, Eps = 1e-6f, WeightDecay = 0.03f },
                ClipNorm = 0.7f,
                Seed = 9,
                RouterLosses = none,
            },
            plan.Options with { RouterLosses = none });
        Assert.Equal([new LoadBalanceLoss(0.5f), new RouterZLoss(0.25f)], plan.Options.RouterLosses);
        Assert.Equal(24, plan.Data.Train(seed: 9, step: 1, microBatch: 0, batchSize: 1, accumulate: 1).Tokens.Length);
    }

    /// <summary>What is not said is the preset's, but for the warm-up of a shorter run.</summary>
    [Fact]
    public void WhatIsNotSaidIsThePresets()
    {
        using TrainPlan plan = Plan("--data", _text), shorter = Plan("--data", _text, "--steps", "50");
        Preset preset = Preset.All[0];
        Assert.Equal(preset.Training, plan.Options with { RouterLosses = preset.Training.RouterLosses });
        Assert.Equal(preset.Training.RouterLosses, plan.Options.RouterLosses);
        Assert.Equal(preset.Training.LearningRate with { WarmupSteps = 10, TotalSteps = 50 }, shorter.Options.LearningRate);
    }

    /// <summary>An epoch's steps follow from the batch and what is accumulated; a part of one, and a share of the steps for the warm-up, are rounded up.</summary>
    [Fact]
    public void EpochsAreSteps()
    {
        using TrainPlan plan = Plan("--data", _text, "--epochs", "1.5", "--batch-size", "2", "--accumulate", "3", "--warmup-ratio", "0.3");
        Assert.Equal((33, 6, 9), (plan.Data.Examples, plan.StepsPerEpoch, plan.Options.Steps));     // 33 windows of 64 in 2,160 tokens
        Assert.Equal((3, 9), (plan.Options.LearningRate.WarmupSteps, plan.Options.LearningRate.TotalSteps));
        using TrainPlan all = Plan("--data", _text, "--epochs", "1", "--batch-size", "2", "--eval-strategy", "no");
        Assert.Equal((37, 0, 19), (all.Data.Examples, all.Data.ValidationExamples, all.Options.Steps));
        Assert.Throws<ArgumentException>(() => Plan("--data", _text, "--epochs", "1e9"));
    }

    [Fact]
    public void AWindowIsNotLongerThanTheModel()
    {
        using TrainPlan plan = Plan("--data", _text, "--model-max-length", "100");
        Assert.Equal(64, plan.Options.Context);
        Assert.Contains("--model-max-length 100: the model has 64 positions", Assert.Single(plan.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void AnswersCountAsTheyAreAsked()
    {
        using TrainPlan plain = Plan("--data", _talks), weighted = Plan("--data", _talks, "--aux_balance_weight", "10");
        Assert.Empty(plain.Data.Train(0, 1, 0, 1, 1).Weights);
        Assert.Equal([1, 10], weighted.Data.Train(0, 1, 0, 1, 1).Weights.Distinct());
        Assert.Equal((18, 2), (plain.Data.Examples, plain.Data.ValidationExamples));
    }

    [Fact]
    public void WhenAndWhere()
    {
        TrainSettings absent = Settings("--data", _text), given = Settings("--data", _text, "--run-name", "r", "--report-to", "tensorboard", "--bf16", "--save-total-limit", "7",
            "--logging-steps", "3", "--eval-strategy", "epoch", "--save-strategy", "no", "--load-best-model-at-end");
        Assert.Equal((null, false, 2, false), (absent.EventFolder, absent.Bf16, absent.SaveTotalLimit, absent.LoadBest));
        Assert.Equal((Path.Combine(_folder["out"], "runs", "r"), true, 7, true), (given.EventFolder, given.Bf16, given.SaveTotalLimit, given.LoadBest));
        Assert.Equal(Path.Combine(_folder["out"], "runs", "shakespeare-char"), Settings("--report-to", "tensorboard").EventFolder);
        Assert.Equal([new(IntervalStrategy.Steps, 1), new(IntervalStrategy.Steps, 100), new(IntervalStrategy.Steps, 500)], new[] { absent.Log, absent.Eval, absent.Save });
        Assert.Equal((3, IntervalStrategy.Epoch, IntervalStrategy.No), (given.Log.Every, given.Eval.Strategy, given.Save.Strategy));
        Assert.Equal([5, 10], Enumerable.Range(1, 12).Where(static s => new Interval(IntervalStrategy.Steps, 5).IsDue(s, 4)));
        Assert.Equal([4, 8, 12], Enumerable.Range(1, 12).Where(static s => new Interval(IntervalStrategy.Epoch, 5).IsDue(s, 4)));
    }
}
