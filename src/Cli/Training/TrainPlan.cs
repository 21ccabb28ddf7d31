using System.Globalization;
using MoeFromScratch.Autograd.Optim;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Moe.Losses;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Model.Training.Conversations;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Training;

/// <summary>What a run works with: made of the settings, and of what their files hold.</summary>
/// <param name="DataSize">The data in words.</param>
/// <param name="Notes">What the user should know before it starts.</param>
internal sealed record TrainPlan(LanguageModel Model, TrainingData Data, TrainOptions Options, string DataSize, IReadOnlyList<string> Notes) : IDisposable
{
    /// <summary>Of a checkpoint that is trained on, where nothing else is said; transformers' trainer has the same.</summary>
    private const double CheckpointEpochs = 3;
    private const int CheckpointLength = 512, CheckpointBatch = 8;
    private const float CheckpointRate = 5e-5f;
    private const int MostTokens = 1 << 22;

    public int StepsPerEpoch => Data.StepsPerEpoch(Options.BatchSize, Options.Accumulate);

    public void Dispose() => Model.Dispose();

    /// <exception cref="ArgumentException">The data, the model and the settings do not go together; the message says why.</exception>
    public static TrainPlan Make(TrainSettings s, IBackend backend)
    {
        List<string> notes = [.. s.Notes];
        if (s.Bf16)
            notes.Add("models are written in BF16; training computes in F32");
        return s.Preset is { } preset ? OfPreset(s, preset, backend, notes) : OfCheckpoint(s, s.Model!, backend, notes);
    }

    private static TrainPlan OfPreset(TrainSettings s, Preset preset, IBackend backend, List<string> notes)
    {
        TokenizerChoice choice = s.Tokenizer ?? preset.Tokenizer;
        TrainingText text = s.Data.Count > 0 ? TrainingText.Read(s.Data, choice.Separator)
            : new(preset.Text?.Invoke(choice.Separator) ?? throw new ArgumentException($"the preset {preset.Name} has no text of its own: name one with --data"), []);
        Tokenizer tokenizer = choice.Make(text.Text ?? string.Join(choice.Separator, text.Conversations.Select(ChatFormat.Plain.Text)));
        ModelConfig config = preset.Model(tokenizer.VocabSize);
        if (tokenizer.IdOf(TokenizerChoice.EndOfText) is { } end)
            config = config with { BosTokenId = end, EosTokenIds = [end] };     // the end of a document is where the next begins
        int context = Context(s, preset.Training.Context, config, notes);
        (TrainingData data, string size) = Read(s, text, tokenizer, config, context, inEpochs: s.Epochs is not null, notes);
        TrainOptions options = OptionsOf(s, preset.Training with { Context = context }, config, data, s.Epochs);
        return new TrainPlan(LanguageModel.Create(backend, preset.Family, config, s.Seed, tokenizer), data, options, size, notes);
    }

    private static TrainPlan OfCheckpoint(TrainSettings s, string folder, IBackend backend, List<string> notes)
    {
        if (s.Data.Count == 0)
            throw new ArgumentException("--model goes on from a checkpoint, but on what? name texts or conversations with --data");
        LanguageModel model = s.Initialize is { } mixture ? DenseStart.Mixture(folder, backend, mixture, s.Seed, notes) : LanguageModel.Load(folder, backend, trainable: true);
        try
        {
            Tokenizer tokenizer = model.Tokenizer ?? throw new ArgumentException($"{folder} has no tokenizer ({TokenizerSource.Kinds}), and training on text needs one");
            TrainingText text = TrainingText.Read(s.Data, Separator(tokenizer, model.Config.EosTokenIds));
            int context = Context(s, Math.Min(CheckpointLength, model.Config.MaxPositions), model.Config, notes);
            double? epochs = s.Epochs ?? (s.Steps is null ? CheckpointEpochs : null);
            (TrainingData data, string size) = Read(s, text, tokenizer, model.Config, context, inEpochs: epochs is not null, notes);
            TrainOptions options = OptionsOf(s, new TrainOptions
            {
                Steps = 1,
                BatchSize = CheckpointBatch,
                Context = context,
                LearningRate = new LrSchedule(LrDecay.Linear, CheckpointRate, WarmupSteps: 0, TotalSteps: 1),
                AdamW = new AdamWOptions { Beta2 = 0.999, WeightDecay = 0 },
                RouterLosses = model.Config.RouterLosses,
            }, model.Config, data, epochs);
            if (options.RouterLosses.Count == 0 && HasMixture(model.Config))
                notes.Add("the checkpoint names no router loss, so nothing balances its experts; --load-balance X does");
            return new TrainPlan(model, data, options, size, notes);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static bool HasMixture(ModelConfig config) => config.Layers.Any(static l => l is MoeConfig);

    /// <summary>What ends a document in a text: the tokenizer's token for that, else its end of a sequence, else a line break.</summary>
    private static string Separator(Tokenizer tokenizer, IReadOnlyList<int> endTokens)
    {
        if (tokenizer.IdOf(TokenizerChoice.EndOfText) is not null)
            return TokenizerChoice.EndOfText;
        foreach (int end in endTokens.Where(tokenizer.Contains))
            if (tokenizer.Decode([end]) is var spelled && tokenizer.Encode(spelled, addSpecialTokens: false) is [var id] && id == end)
                return spelled;
        return "\n";
    }

    private static int Context(TrainSettings s, int absent, ModelConfig config, List<string> notes)
    {
        if (s.MaxLength > config.MaxPositions)
            notes.Add($"--model-max-length {s.MaxLength}: the model has {config.MaxPositions} positions, so that is the length");
        return Math.Min(s.MaxLength ?? absent, config.MaxPositions);
    }

    private static (TrainingData Data, string Size) Read(TrainSettings s, TrainingText text, Tokenizer tokenizer, ModelConfig config, int context, bool inEpochs,
        List<string> notes)
    {
        float validation = s.Eval.Strategy == IntervalStrategy.No ? 0 : 0.1f;
        if (text.Text is not null)
        {
            if (s.AnswerWeight is not null)
                throw new ArgumentException("--aux-balance-weight weighs answers, and --data has no conversations");
            int[] tokens = tokenizer.Encode(text.Text, addSpecialTokens: false);
            return (new TokenData(tokens, context, validation, inEpochs), $"{text.Text.Length:n0} characters in {tokens.Length:n0} tokens of {tokenizer.VocabSize} kinds");
        }
        if (s.AnswerWeight is not null && !HasMixture(config))
            throw new ArgumentException("--aux-balance-weight is about the load of experts, and the model is dense");
        ChatFormat format = ChatFormat.For(tokenizer, config.EosTokenIds);
        ConversationData data = new([.. text.Conversations.Select(c => format.Encode(tokenizer, c))], context, s.AnswerWeight ?? 1, validation);
        if (text.Unanswered > 0)
            notes.Add($"{text.Unanswered} conversations end with a question, which was left out");
        if (data.Truncated > 0)
            notes.Add($"{data.Truncated} of {text.Conversations.Count} conversations were cut to {context} tokens"
                + (data.LeftOut > 0 ? $", {data.LeftOut} of them left out because no answer begins before" : ""));
        return (data, $"{text.Conversations.Count - data.LeftOut:n0} conversations of {data.Tokens.All:n0} tokens, {data.Tokens.Answers:n0} of them answers', in the {format.Name} format");
    }

    private static TrainOptions OptionsOf(TrainSettings s, TrainOptions preset, ModelConfig config, TrainingData data, double? epochs)
    {
        int batch = s.BatchSize ?? preset.BatchSize;
        if (Math.Max(batch, s.EvalBatchSize ?? 0) > MostTokens / preset.Context)
            throw new ArgumentException($"--batch-size {Math.Max(batch, s.EvalBatchSize ?? 0)} is more than {MostTokens:n0} tokens at once; --accumulate sums smaller batches");
        double asked = s.Steps ?? (epochs is { } e ? Math.Ceiling(e * data.StepsPerEpoch(batch, s.Accumulate)) : preset.Steps);
        int steps = asked <= int.MaxValue ? (int)asked : throw new ArgumentException($"--epochs {epochs} are more than {int.MaxValue} steps");
        bool ofPreset = s.Steps is null && epochs is null;
        float peak = s.LearningRate ?? preset.LearningRate.Peak;
        if (s.Scheduler is { } falls && falls.Final >= peak)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--lr-scheduler-type {falls.Name} falls to {falls.Final}: --learning-rate must be above, not {peak}"));
        return preset with
        {
            Steps = steps,
            BatchSize = batch,
            EvalBatchSize = s.EvalBatchSize ?? 0,
            Accumulate = s.Accumulate,
            CheckpointBlocks = s.CheckpointBlocks,
            Seed = s.Seed,
            ClipNorm = s.MaxGradNorm ?? preset.ClipNorm,
            AdamW = preset.AdamW with
            {
                Beta1 = s.Beta1 ?? preset.AdamW.Beta1,
                Beta2 = s.Beta2 ?? preset.AdamW.Beta2,
                Eps = s.Eps ?? preset.AdamW.Eps,
                WeightDecay = s.WeightDecay ?? preset.AdamW.WeightDecay,
            },
            LearningRate = new LrSchedule(
                s.Scheduler?.Decay ?? preset.LearningRate.Decay,
                peak,
                s.WarmupSteps ?? (s.WarmupRatio is { } ratio ? (int)Math.Ceiling(ratio * steps)
                    : s.Scheduler is { WarmsUp: false } ? 0
                    : ofPreset ? preset.LearningRate.WarmupSteps : Math.Min(preset.LearningRate.WarmupSteps, steps / 5)),
                steps,
                s.Scheduler?.Final ?? peak * preset.LearningRate.Final / preset.LearningRate.Peak),
            RouterLosses = Losses(s, preset.RouterLosses, config),
        };
    }

    /// <summary>The losses with the coefficients that were asked for; one whose coefficient is 0 is not computed.</summary>
    private static IReadOnlyList<RouterLoss> Losses(TrainSettings s, IReadOnlyList<RouterLoss> own, ModelConfig config)
    {
        List<RouterLoss> losses = [.. own];
        Set("--load-balance", s.LoadBalance, static l => l is LoadBalanceLoss or DcMoeBalanceLoss or HeterogeneousBalanceLoss or ImportanceLoadLoss, static c => new LoadBalanceLoss(c));
        Set("--router-entropy", s.RouterEntropy, static l => l is RouterEntropyLoss, static c => new RouterEntropyLoss(c));
        Set("--router-z", s.RouterZ, static l => l is RouterZLoss, static c => new RouterZLoss(c));
        return [.. losses.Where(static l => l is not { Coefficient: 0 } and not ImportanceLoadLoss { Weight: 0 })];

        void Set(string option, float? coefficient, Func<RouterLoss, bool> which, Func<float, RouterLoss> make)
        {
            if (coefficient is not { } c)
                return;
            if (!HasMixture(config))
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{option} {c} is about routers, and the model is dense"));
            int at = losses.FindIndex(l => which(l));
            if (at < 0)
                losses.Add(make(c));
            else
                losses[at] = losses[at] is ImportanceLoadLoss importance ? importance with { Weight = c } : losses[at] with { Coefficient = c };
        }
    }
}
