using System.CommandLine;
using System.Globalization;
using System.Numerics;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Upcycling;

namespace MoeFromScratch.Cli.Training;

/// <summary>
/// The options of <c>moe train</c>. Each has its name in snake_case too, and the seeds' names for it; the seeds' options that are nothing
/// here are known, but not shown: <see cref="SeedOptions"/> says what becomes of them.
/// </summary>
internal sealed class TrainCommandLine
{
    private readonly List<Option> _all = [];
    private readonly List<(SeedOption Seed, Option<string?> Option)> _without = [];
    private readonly Option<string[]> _data;
    private readonly Option<string> _out, _preset, _config, _model;
    private readonly Option<bool> _overwrite, _resume, _checkpointBlocks, _loadBest, _bf16, _initialize, _fp32Gate;
    private readonly Option<bool?> _tokenDrop;
    private readonly Option<string?> _tokenizer, _scheduler, _evalStrategy, _saveStrategy, _loggingStrategy, _reportTo, _runName, _moeCopy, _dropPolicy;
    private readonly Option<int?> _steps, _batch, _evalBatch, _accumulate, _maxLength, _warmupSteps, _evalEvery, _saveEvery, _loggingSteps, _saveTotalLimit;
    private readonly Option<int?> _experts, _shared, _null, _sizeFactor, _sharedSizeFactor, _topK, _minCapacity;
    private readonly Option<double?> _epochs, _warmupRatio, _beta1, _beta2;
    private readonly Option<float?> _lr, _weightDecay, _maxGradNorm, _eps, _loadBalance, _routerEntropy, _routerZ, _answerWeight, _topP, _capacityFactor;
    private readonly Option<ulong> _seed = Common.Seed();
    private readonly Option<bool> _json = Common.Json("a summary");

    public TrainCommandLine(Command command)
    {
        _data = Add(new Option<string[]>("--data")
        {
            Description = "Text to learn from, UTF-8: each file is a document, and so is what stands between <|endoftext|> in a file, where the tokenizer has that token; "
                + "or JSON or JSONL with conversations, whose answers are learned, or with documents at 'text'.",
            AllowMultipleArgumentsPerToken = true,
            HelpName = "FILE",
        });
        _out = Add(new Option<string>("--out") { Description = "Folder for the model, its checkpoints and the log train.jsonl.", Required = true, HelpName = "DIR" });
        _overwrite = Flag("--overwrite", "Replace what is already in --out.");
        _resume = Flag("--resume", "Continue from the newest checkpoint in --out, or start if there is none yet; all other options as before.");
        _preset = Text("--preset", $"Model and settings: {string.Join("; ", Preset.All.Select(static p => $"{p.Name} ({p.Description})"))}.", "NAME")!;
        _config = Text("--config", "JSON with a model and settings of your own, instead of a preset.", "FILE")!;
        _model = Text("--model", "Checkpoint to go on from, instead of a preset: its weights, config and tokenizer.", "DIR")!;
        _tokenizer = Text("--tokenizer", "characters, bpe:SIZE (trained on the text, byte-level), or a tokenizer to use as it is: a tokenizer.json, another kind of file that a checkpoint may have, or a folder with one; characters unless the preset says otherwise.", "KIND");
        _steps = Number<int>("--steps", "Training steps; the learning rate's decay follows.", "N");
        _epochs = Number<double>("--epochs", "Times that each window or conversation is seen, instead of --steps; 3 for --model where neither is given.", "X");
        _batch = Number<int>("--batch-size", "Windows or conversations per pass.", "N");
        _evalBatch = Number<int>("--eval-batch-size", "As many in an evaluation; as in training unless given.", "N");
        _accumulate = Number<int>("--accumulate", "Batches whose gradients are summed before a step; 1 unless given.", "N");
        _maxLength = Number<int>("--model-max-length", "Tokens per window, and of a conversation, which is cut behind them; 512 for --model.", "N");
        _checkpointBlocks = Flag("--gradient-checkpointing", "Less memory for about a third more time: recompute each block on the way back.");
        _lr = Number<float>("--learning-rate", "Peak learning rate.", "X");
        _scheduler = Text("--lr-scheduler-type", $"{string.Join(", ", Scheduler.All.Select(static s => s.Name))}: what the learning rate does after its warm-up.", "NAME");
        _warmupRatio = Number<double>("--warmup-ratio", "Part of the steps over which the learning rate rises.", "X");
        _warmupSteps = Number<int>("--warmup-steps", "The same in steps.", "N");
        _weightDecay = Number<float>("--weight-decay", "AdamW's decay of matrices.", "X");
        _maxGradNorm = Number<float>("--max-grad-norm", "Largest norm of all gradients; 0 for any.", "X");
        _beta1 = Number<double>("--adam-beta1", "AdamW's mean of gradients.", "X");
        _beta2 = Number<double>("--adam-beta2", "AdamW's mean of their squares.", "X");
        _eps = Number<float>("--adam-epsilon", "AdamW's least divisor.", "X");
        _loadBalance = Number<float>("--load-balance", "Coefficient of the balance loss; 0 for none.", "X");
        _routerEntropy = Number<float>("--router-entropy", "Coefficient of the router's entropy; 0 for none.", "X");
        _routerZ = Number<float>("--router-z", "Coefficient of the router's z-loss; 0 for none.", "X");
        _answerWeight = Number<float>("--aux-balance-weight", "What a token of an answer counts in the router losses, where the others count 1.", "X");
        _loggingStrategy = Text("--logging-strategy", "steps (unless given), epoch or no: when a line goes to train.jsonl.", "WHEN");
        _loggingSteps = Number<int>("--logging-steps", "Steps between such lines; 1 unless given.", "N");
        _evalStrategy = Text("--eval-strategy", "steps (unless given), epoch or no: when to look at the validation tenth of the data; no trains on all of it.", "WHEN");
        _evalEvery = Number<int>("--eval-every", "Steps between such looks; 100 unless given.", "N");
        _saveStrategy = Text("--save-strategy", "steps (unless given), epoch or no: when to save, apart from the end.", "WHEN");
        _saveEvery = Number<int>("--save-every", "Steps between checkpoints; 500 unless given.", "N");
        _saveTotalLimit = Number<int>("--save-total-limit", "Checkpoints to keep, the newest ones; 2 unless given.", "N");
        _loadBest = Flag("--load-best-model-at-end", "Make the model at the end the one with the lowest validation loss, whose checkpoint is kept beside the newest ones.");
        _bf16 = Flag("--bf16", "Write models in BF16; training computes in F32.");
        _reportTo = Text("--report-to", "none (unless given) or tensorboard: event files in OUT/runs.", "NAME");
        _runName = Text("--run-name", "Name of the run, of its folder in OUT/runs too.", "NAME");
        _initialize = Flag("--initialize", "Make a DCMoE mixture of the dense --model first; the options from here on say which.");
        _moeCopy = Text("--moe-copy", "all (unless given) fills experts with slices of the dense network, single the first routed and the first shared one, none draws them.", "WHAT");
        _fp32Gate = Add(new Option<bool>("--fp32-gate") { Description = "The router is F32 in any case.", DefaultValueFactory = static _ => true });
        _experts = Number<int>("--mlp-dynamic-expert-num", "Routed experts; 4 unless given.", "N");
        _shared = Number<int>("--mlp-fixed-expert-num", "Shared experts; 2 unless given.", "N");
        _null = Number<int>("--mlp-dynamic-null-expert-num", "Null experts; 1 unless given.", "N");
        _sizeFactor = Number<int>("--dynamic-mlp-size-factor", "Dense width by a routed expert's; 1 unless given.", "N");
        _sharedSizeFactor = Number<int>("--fixed-mlp-size-factor", "Dense width by a shared expert's; 1 unless given.", "N");
        _topP = Number<float>("--mlp-dynamic-top-p", "Probability that the chosen experts reach; 0 for top-k; 0.7 unless given.", "P");
        _topK = Number<int>("--mlp-dynamic-top-k", "Experts per token where top-p is 0; 2 unless given.", "N");
        _tokenDrop = Add(new Option<bool?>("--token-drop") { Description = "Experts have room for so many tokens only." });
        _dropPolicy = Text("--drop-policy", "probs (unless given) or position: which tokens are dropped.", "NAME");
        _minCapacity = Number<int>("--min-capacity", "Least room of an expert; 8 unless given.", "N");
        _capacityFactor = Number<float>("--capacity-factor", "Room of an expert in even shares; 1 unless given.", "X");
        Add(_seed);
        AddSeeds();
        foreach (Option option in _all)
            command.Add(option);
        command.Add(_json);
    }

    /// <summary>The names by which the seeds know an option, and the options that are none.</summary>
    private void AddSeeds()
    {
        foreach (Option option in _all)
            Alias(option, "--" + option.Name[2..].Replace('-', '_'));
        foreach (SeedOption seed in SeedOptions.All)
            if (seed.Ours is not null)
            {
                Option ours = _all.Single(o => o.Name == seed.Ours);
                Alias(ours, "--" + seed.Name);
                Alias(ours, "--" + seed.Name.Replace('_', '-'));
            }
            else
            {
                Option<string?> option = new("--" + seed.Name) { Hidden = true, Arity = ArgumentArity.ZeroOrOne };
                Alias(option, "--" + seed.Name.Replace('_', '-'));
                _without.Add((seed, Add(option)));
            }

        static void Alias(Option option, string name)
        {
            if (option.Name != name && !option.Aliases.Contains(name))
                option.Aliases.Add(name);
        }
    }

    /// <exception cref="ArgumentException">A value out of its range, options that contradict each other, or one that is refused; the message names it.</exception>
    public TrainSettings Read(ParseResult r)
    {
        List<string> notes = [.. Without(r)];
        if (!r.GetValue(_fp32Gate))
            notes.Add("--fp32-gate false: the router stays F32");
        bool initialize = r.GetValue(_initialize);
        string? model = r.GetValue(_model), output = r.GetValue(_out)!, name = r.GetValue(_runName);
        RequireOneModel(r, model, initialize);
        Preset? preset = model is null ? FindPreset(r.GetValue(_preset), r.GetValue(_config)) : null;
        if (r.GetValue(_steps) is not null && r.GetValue(_epochs) is not null)
            throw new ArgumentException("--steps and --epochs both say how long: choose one");
        if (r.GetValue(_warmupRatio) is not null && r.GetValue(_warmupSteps) is not null)
            throw new ArgumentException("--warmup-ratio and --warmup-steps both say how long the warm-up is: choose one");
        Scheduler? scheduler = Choice(r, _scheduler, Scheduler.All, static s => s.Name);
        if (scheduler is { WarmsUp: false } && (r.GetValue(_warmupRatio) > 0 || r.GetValue(_warmupSteps) > 0))
            throw new ArgumentException($"--lr-scheduler-type {scheduler.Name} has no warm-up; constant_with_warmup has one");
        bool reports = Choice(r, _reportTo, ["none", "tensorboard"], static n => n) == "tensorboard";
        string title = name ?? preset?.Name ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(model!)));
        if (name is not null && (name.Trim().Length == 0 || name is "." or ".." || name.AsSpan().IndexOfAny('/', '\\', '\0') >= 0))
            throw new ArgumentException($"--run-name '{name}' is no name for a folder");
        float? balance = AtLeast0(r, _loadBalance);
        Interval eval = When(r, _evalStrategy, _evalEvery, 100);
        if (r.GetValue(_loadBest) && eval.Strategy == IntervalStrategy.No)
            throw new ArgumentException("--load-best-model-at-end goes by the validation loss, which --eval-strategy no does not measure");
        return new TrainSettings
        {
            Data = r.GetValue(_data)!,
            Out = output,
            Overwrite = r.GetValue(_overwrite),
            Resume = r.GetValue(_resume),
            Json = r.GetValue(_json),
            Seed = r.GetValue(_seed),
            Title = title,
            Preset = preset,
            Tokenizer = r.GetValue(_tokenizer) is { } kind ? TokenizerChoice.Parse(kind) : null,
            Model = model,
            Initialize = initialize ? Mixture(r, balance) : null,
            Steps = Positive(r, _steps),
            Epochs = Positive(r, _epochs),
            BatchSize = Positive(r, _batch),
            EvalBatchSize = Positive(r, _evalBatch),
            Accumulate = Positive(r, _accumulate) ?? 1,
            MaxLength = Positive(r, _maxLength),
            CheckpointBlocks = r.GetValue(_checkpointBlocks),
            LearningRate = Positive(r, _lr),
            Scheduler = scheduler,
            WarmupRatio = r.GetValue(_warmupRatio) is not { } ratio || ratio is >= 0 and <= 1 ? r.GetValue(_warmupRatio)
                : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--warmup-ratio lies between 0 and 1, it is not {ratio}")),
            WarmupSteps = AtLeast0(r, _warmupSteps),
            WeightDecay = AtLeast0(r, _weightDecay),
            MaxGradNorm = AtLeast0(r, _maxGradNorm),
            Beta1 = Share(r, _beta1),
            Beta2 = Share(r, _beta2),
            Eps = Positive(r, _eps),
            LoadBalance = balance,
            RouterEntropy = AtLeast0(r, _routerEntropy),
            RouterZ = AtLeast0(r, _routerZ),
            AnswerWeight = Positive(r, _answerWeight),
            Log = When(r, _loggingStrategy, _loggingSteps, 1),
            Eval = eval,
            Save = When(r, _saveStrategy, _saveEvery, 500),
            SaveTotalLimit = Positive(r, _saveTotalLimit) ?? 2,
            LoadBest = r.GetValue(_loadBest),
            Bf16 = r.GetValue(_bf16),
            EventFolder = reports ? Path.Combine(output, "runs", title) : null,
            Notes = notes,
        };
    }

    /// <summary>What is to be said of the seeds' options that are none of ours.</summary>
    private List<string> Without(ParseResult r)
    {
        List<string> notes = [], refused = [];
        foreach ((SeedOption seed, Option<string?> option) in _without)
            if (r.GetResult(option) is { } given)
            {
                string value = given.Tokens is [var token] ? token.Value : "true";
                if (seed.Accepted is null)
                    notes.Add($"--{seed.Name} has no effect: {seed.Sentence}");
                else if (!seed.Accepted.Contains(value, StringComparer.OrdinalIgnoreCase))
                    refused.Add($"--{seed.Name} {(seed.Accepted.Length == 0 ? "is refused" : $"takes {seed.Meaning.Replace("`", "", StringComparison.Ordinal)}, not {value}")}: {seed.Sentence}");
            }
        return refused.Count == 0 ? notes : throw new ArgumentException(string.Join(" ", refused).TrimEnd('.'));
    }

    private void RequireOneModel(ParseResult r, string? model, bool initialize)
    {
        string[] named = [.. new[] { _preset, _config, _model }.Where(o => r.GetValue(o) is not null).Select(static o => o.Name)];
        if (named.Length > 1)
            throw new ArgumentException($"{string.Join(" and ", named)} {(named.Length == 2 ? "both" : "all")} name a model: choose one");
        if (model is not null && r.GetValue(_tokenizer) is not null)
            throw new ArgumentException("--tokenizer is for new models; the checkpoint at --model brings its own");
        if (initialize && model is null)
            throw new ArgumentException("--initialize makes a mixture of a dense model: name that with --model");
        Option[] ofMixture = [_moeCopy, _experts, _shared, _null, _sizeFactor, _sharedSizeFactor, _topP, _topK, _tokenDrop, _dropPolicy, _minCapacity, _capacityFactor];
        if (!initialize && ofMixture.FirstOrDefault(o => r.GetResult(o) is not null) is { } idle)
            throw new ArgumentException($"{idle.Name} describes the mixture that --initialize makes; without it the model is trained as it is");
    }

    private MixtureSettings Mixture(ParseResult r, float? balance)
    {
        MixtureSettings seed = new();
        bool drops = r.GetValue(_tokenDrop) ?? false;
        if (!drops && ((Option[])[_dropPolicy, _minCapacity, _capacityFactor]).FirstOrDefault(o => r.GetResult(o) is not null) is { } idle)
            throw new ArgumentException($"{idle.Name} says how tokens are dropped: it goes with --token-drop true");
        float topP = r.GetValue(_topP) is not { } p || p is >= 0 and <= 1 ? r.GetValue(_topP) ?? seed.TopP
            : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--mlp-dynamic-top-p lies between 0 and 1, it is not {p}"));
        return new MixtureSettings
        {
            Experts = Positive(r, _experts) ?? seed.Experts,
            SharedExperts = AtLeast0(r, _shared) ?? seed.SharedExperts,
            NullExperts = AtLeast0(r, _null) ?? seed.NullExperts,
            SizeFactor = Positive(r, _sizeFactor) ?? seed.SizeFactor,
            SharedSizeFactor = Positive(r, _sharedSizeFactor) ?? seed.SharedSizeFactor,
            TopP = topP,
            TopK = topP == 0 ? Positive(r, _topK) ?? seed.TopK : AtLeast0(r, _topK) ?? seed.TopK,
            Drops = drops,
            DropsByPosition = Choice(r, _dropPolicy, ["probs", "position"], static n => n) == "position",
            MinCapacity = AtLeast0(r, _minCapacity) ?? seed.MinCapacity,
            CapacityFactor = Positive(r, _capacityFactor) ?? seed.CapacityFactor,
            BalanceCoefficient = balance ?? seed.BalanceCoefficient,
            Copies = Enum.Parse<SliceCopies>(Choice(r, _moeCopy, ["all", "single", "none"], static n => n) ?? "all", ignoreCase: true),
        };
    }

    private static Preset FindPreset(string? name, string? config)
    {
        name ??= Preset.All[0].Name;
        return config is not null ? TrainConfig.Read(config) : Preset.All.FirstOrDefault(p => p.Name == name)
            ?? throw new ArgumentException($"there is no preset '{name}'; there is {string.Join(", ", Preset.All.Select(static p => p.Name))}");
    }

    private static Interval When(ParseResult r, Option<string?> strategy, Option<int?> every, int absent)
    {
        IntervalStrategy when = Choice(r, strategy, ["no", "steps", "epoch"], static n => n) switch
        {
            "no" => IntervalStrategy.No,
            "epoch" => IntervalStrategy.Epoch,
            _ => IntervalStrategy.Steps,
        };
        if (when != IntervalStrategy.Steps && r.GetValue(every) is not null)
            throw new ArgumentException($"{every.Name} counts steps, which {strategy.Name} {r.GetValue(strategy)} does not");
        return new Interval(when, Positive(r, every) ?? absent);
    }

    /// <summary>What a word stands for; null where none is given.</summary>
    private static T? Choice<T>(ParseResult r, Option<string?> option, IReadOnlyList<T> choices, Func<T, string> name) where T : class =>
        r.GetValue(option) is not { } word ? null : choices.FirstOrDefault(c => name(c) == word)
            ?? throw new ArgumentException($"{option.Name} is {string.Join(", ", choices.SkipLast(1).Select(name))} or {name(choices[^1])}, not '{word}'");

    private static T? Positive<T>(ParseResult r, Option<T?> option) where T : struct, INumber<T> => Where(r, option, static v => v > T.Zero, "must be above 0,");

    private static T? AtLeast0<T>(ParseResult r, Option<T?> option) where T : struct, INumber<T> => Where(r, option, static v => v >= T.Zero, "must be at least 0,");

    private static double? Share(ParseResult r, Option<double?> option) => Where(r, option, static v => v is >= 0 and < 1, "lies between 0 and below 1,");

    private static T? Where<T>(ParseResult r, Option<T?> option, Func<T, bool> rule, string text) where T : struct, INumber<T> =>
        r.GetValue(option) is not { } v || (rule(v) && T.IsFinite(v)) ? r.GetValue(option)
            : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{option.Name} {text} not {v}"));

    private T Add<T>(T option) where T : Option
    {
        _all.Add(option);
        return option;
    }

    private Option<bool> Flag(string name, string description) => Add(new Option<bool>(name) { Description = description });

    private Option<string?> Text(string name, string description, string helpName) =>
        Add(new Option<string?>(name) { Description = description, HelpName = helpName });

    private Option<T?> Number<T>(string name, string description, string helpName) where T : struct =>
        Add(new Option<T?>(name) { Description = description, HelpName = helpName });
}
