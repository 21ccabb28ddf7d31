using System.CommandLine;
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Families;
using MoeFromScratch.Model.Tokenizers;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Verbs;

/// <summary><c>moe train</c>: a model from a text file.</summary>
internal static class TrainVerb
{
    private sealed record Settings(string Data, string Out, bool Overwrite, Preset Preset, int? Steps, int? BatchSize, float? LearningRate,
        int Accumulate, bool CheckpointBlocks, int EvalEvery, ulong Seed, bool Json);

    public static Command Command()
    {
        Option<string> data = new("--data") { Description = "Text to learn from, UTF-8.", Required = true, HelpName = "FILE" };
        Option<string> output = new("--out") { Description = "Folder for the checkpoint.", Required = true, HelpName = "DIR" };
        Option<bool> overwrite = new("--overwrite") { Description = "Replace a checkpoint that is already in --out." };
        Option<string> preset = new("--preset")
        {
            Description = $"Model and settings: {string.Join("; ", Preset.All.Select(static p => $"{p.Name} ({p.Description})"))}.",
            DefaultValueFactory = static _ => Preset.All[0].Name,
            HelpName = "NAME",
        };
        Option<int?> steps = new("--steps") { Description = "Training steps; the learning rate's decay follows.", HelpName = "N" };
        Option<int?> batch = new("--batch-size") { Description = "Windows per step.", HelpName = "N" };
        Option<float?> lr = new("--learning-rate") { Description = "Peak learning rate.", HelpName = "X" };
        Option<int> accumulate = new("--accumulate") { Description = "Batches whose gradients are summed before a step.", DefaultValueFactory = _ => 1, HelpName = "N" };
        Option<bool> checkpointBlocks = new("--gradient-checkpointing") { Description = "Less memory for about a third more time: recompute each block on the way back." };
        Option<int> evalEvery = new("--eval-every") { Description = "Steps between looks at the validation tenth of the text.", DefaultValueFactory = _ => 100, HelpName = "N" };
        Option<ulong> seed = Common.Seed();
        Option<string> device = Common.Device();
        Option<int> threads = Common.Threads();
        Option<bool> json = Common.Json("a summary");
        Command command = new("train", "Train a model on a text.")
        {
            data, output, overwrite, preset, steps, batch, lr, accumulate, checkpointBlocks, evalEvery, seed, device, threads, json,
        };
        command.SetAction(r =>
        {
            Settings settings = new(r.GetValue(data)!, r.GetValue(output)!, r.GetValue(overwrite), FindPreset(r.GetValue(preset)!),
                Positive(r.GetValue(steps), "--steps"), Positive(r.GetValue(batch), "--batch-size"), Positive(r.GetValue(lr), "--learning-rate"),
                Positive<int>(r.GetValue(accumulate), "--accumulate")!.Value, r.GetValue(checkpointBlocks),
                Positive<int>(r.GetValue(evalEvery), "--eval-every")!.Value, r.GetValue(seed), r.GetValue(json));
            using IBackend backend = Common.Backend(r.GetValue(device)!, r.GetValue(threads));
            return Run(settings, backend);
        });
        return command;
    }

    private static int Run(Settings s, IBackend backend)
    {
        if (File.Exists(Path.Combine(s.Out, "model.safetensors")) && !s.Overwrite)
            throw new ArgumentException($"{s.Out} already holds a checkpoint; choose another folder or add --overwrite");
        Directory.CreateDirectory(s.Out);
        string text = ReadText(s.Data);
        Tokenizer tokenizer = Tokenizer.TrainCharacters(text);
        TrainOptions options = Options(s);
        TokenData data = new(tokenizer.Encode(text), options.Context);

        using LanguageModel model = LanguageModel.Create(backend, new DynamicMoe(), s.Preset.Model(tokenizer.VocabSize), s.Seed, tokenizer);
        using Trainer trainer = new(model, data, options);
        Console.Error.WriteLine($"{s.Preset.Name}: {model.Weights.Count:n0} parameters, {text.Length:n0} characters of {tokenizer.VocabSize} kinds, {options.Steps} steps");

        using CancellationTokenSource stop = new();
        ConsoleCancelEventHandler onCancel = (_, e) =>
        {
            e.Cancel = !stop.IsCancellationRequested;   // the second Ctrl-C ends the process
            stop.Cancel();
        };
        Console.CancelKeyPress += onCancel;
        long start = Stopwatch.GetTimestamp();
        ProgressLine progress = new(options.Steps);
        TrainStep? last = null;
        float validation = float.NaN;
        trainer.Run(step =>
        {
            last = step;
            if (!float.IsFinite(step.Loss) || !float.IsFinite(step.GradNorm))
                throw new ArithmeticException($"step {step.Step}: the loss is {step.Loss} and the gradient norm {step.GradNorm}; nothing was saved");
            bool evaluates = step.Step % s.EvalEvery == 0 && step.Step < options.Steps;
            if (evaluates)
                validation = trainer.Validate(windows: 16 * options.BatchSize);
            progress.Show(step, validation, keep: evaluates || step.Step == 1);
        }, stop.Token);
        Console.CancelKeyPress -= onCancel;

        model.Save(s.Out);
        bool interrupted = last?.Step != options.Steps;
        validation = trainer.Validate();
        progress.End();
        Summarise(s, last, validation, Stopwatch.GetElapsedTime(start).TotalSeconds);
        return interrupted ? Program.Interrupted : Program.Success;
    }

    private static void Summarise(Settings s, TrainStep? last, float validation, double seconds)
    {
        if (s.Json)
            Common.PrintJson(new JsonObject
            {
                ["steps"] = last?.Step ?? 0,
                ["train_loss"] = last?.Loss,
                ["validation_loss"] = validation,
                ["experts_per_token"] = new JsonArray([.. (last?.ExpertsPerToken ?? []).Select(static e => (JsonNode)e)]),
                ["seconds"] = Math.Round(seconds, 1),
                ["checkpoint"] = s.Out,
            });
        else
            Console.WriteLine($"validation loss {validation:f4} after {last?.Step ?? 0} steps in {seconds:f0} s; saved to {s.Out}");
    }

    private static TrainOptions Options(Settings s)
    {
        TrainOptions preset = s.Preset.Training;
        int steps = s.Steps ?? preset.Steps;
        float peak = s.LearningRate ?? preset.LearningRate.Peak;
        return preset with
        {
            Steps = steps,
            BatchSize = s.BatchSize ?? preset.BatchSize,
            Accumulate = s.Accumulate,
            CheckpointBlocks = s.CheckpointBlocks,
            Seed = s.Seed,
            LearningRate = preset.LearningRate with
            {
                Peak = peak,
                Final = peak * preset.LearningRate.Final / preset.LearningRate.Peak,
                TotalSteps = steps,
                WarmupSteps = Math.Min(preset.LearningRate.WarmupSteps, steps / 5),
            },
        };
    }

    private static string ReadText(string path)
    {
        try
        {
            string text = File.ReadAllText(path, new UTF8Encoding(false, throwOnInvalidBytes: true));
            return text.Length > 0 ? text : throw new ArgumentException($"{path} is empty");
        }
        catch (DecoderFallbackException)
        {
            throw new ArgumentException($"{path} is not UTF-8 text");
        }
    }

    private static Preset FindPreset(string name) => Preset.All.FirstOrDefault(p => p.Name == name)
        ?? throw new ArgumentException($"there is no preset '{name}'; there is {string.Join(", ", Preset.All.Select(static p => p.Name))}");

    private static T? Positive<T>(T? value, string option) where T : struct, System.Numerics.INumber<T> =>
        value is not { } v || (v > T.Zero && !T.IsPositiveInfinity(v)) ? value : throw new ArgumentException($"{option} must be above 0, not {v}");
}
