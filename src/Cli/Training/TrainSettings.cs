using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Cli.Training;

/// <summary>What the command line asks of a run; null leaves a value to the preset or the model.</summary>
internal sealed record TrainSettings
{
    public required IReadOnlyList<string> Data { get; init; }
    public required string Out { get; init; }
    public bool Overwrite { get; init; }
    public bool Resume { get; init; }
    public bool Json { get; init; }
    public ulong Seed { get; init; }

    /// <summary>The run's name.</summary>
    public required string Title { get; init; }

    /// <summary>Null where <see cref="Model"/> names the model.</summary>
    public Preset? Preset { get; init; }

    public TokenizerChoice? Tokenizer { get; init; }

    /// <summary>A checkpoint to start from.</summary>
    public string? Model { get; init; }

    /// <summary>The mixture to make of it first; null to train it as it is.</summary>
    public MixtureSettings? Initialize { get; init; }

    public int? Steps { get; init; }
    public double? Epochs { get; init; }
    public int? BatchSize { get; init; }
    public int? EvalBatchSize { get; init; }
    public int Accumulate { get; init; } = 1;
    public int? MaxLength { get; init; }
    public bool CheckpointBlocks { get; init; }

    public float? LearningRate { get; init; }
    public Scheduler? Scheduler { get; init; }
    public double? WarmupRatio { get; init; }
    public int? WarmupSteps { get; init; }
    public float? WeightDecay { get; init; }
    public float? MaxGradNorm { get; init; }
    public double? Beta1 { get; init; }
    public double? Beta2 { get; init; }
    public float? Eps { get; init; }

    public float? LoadBalance { get; init; }
    public float? RouterEntropy { get; init; }
    public float? RouterZ { get; init; }
    public float? AnswerWeight { get; init; }

    public Interval Log { get; init; } = new(IntervalStrategy.Steps, 1);
    public Interval Eval { get; init; } = new(IntervalStrategy.Steps, 100);
    public Interval Save { get; init; } = new(IntervalStrategy.Steps, 500);
    public int SaveTotalLimit { get; init; } = 2;

    /// <summary>Whether the model at the end is the one with the lowest validation loss.</summary>
    public bool LoadBest { get; init; }
    public bool Bf16 { get; init; }

    /// <summary>Folder of TensorBoard's file; null for none.</summary>
    public string? EventFolder { get; init; }

    /// <summary>What is to be said before training, such as options without effect.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}

/// <summary>A learning-rate schedule by transformers' name.</summary>
/// <param name="WarmsUp">Whether a warm-up goes with it.</param>
/// <param name="Final">The rate that it falls to.</param>
internal sealed record Scheduler(string Name, LrDecay Decay, bool WarmsUp = true, float Final = 0)
{
    public static IReadOnlyList<Scheduler> All { get; } =
    [
        new("linear", LrDecay.Linear), new("cosine", LrDecay.Cosine), new("constant", LrDecay.Constant, WarmsUp: false),
        new("constant_with_warmup", LrDecay.Constant), new("inverse_sqrt", LrDecay.InverseSqrt),
        new("polynomial", LrDecay.Linear, Final: 1e-7f),    // of power 1, as its default is
    ];
}

/// <summary>How a dense model becomes a DCMoE mixture; the defaults are those of the seed's script, but for copying, which it always asks for.</summary>
internal sealed record MixtureSettings
{
    public int Experts { get; init; } = 4;
    public int SharedExperts { get; init; } = 2;
    public int NullExperts { get; init; } = 1;

    /// <summary>Dense width by a routed expert's.</summary>
    public int SizeFactor { get; init; } = 1;

    /// <summary>Dense width by a shared expert's.</summary>
    public int SharedSizeFactor { get; init; } = 1;

    /// <summary>0 for top-k.</summary>
    public float TopP { get; init; } = 0.7f;
    public int TopK { get; init; } = 2;
    public bool Drops { get; init; }
    public bool DropsByPosition { get; init; }
    public int MinCapacity { get; init; } = 8;
    public float CapacityFactor { get; init; } = 1;
    public float BalanceCoefficient { get; init; } = 0.025f;

    /// <summary>Which experts get slices of the dense network, rather than be drawn.</summary>
    public SliceCopies Copies { get; init; }
}
