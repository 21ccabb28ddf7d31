using System.Diagnostics;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Training;

/// <summary>A training run from its start, or where it stopped, to its end or until somebody stops it.</summary>
internal sealed class TrainRun(TrainSettings s, TrainPlan plan, TrainingFolder folder, Trainer trainer)
{
    private readonly TrainOptions _options = plan.Options;
    private readonly string[] _routerLosses = [.. plan.Options.RouterLosses.Select(static l => l.Name)];

    /// <returns>The exit code.</returns>
    /// <exception cref="ArgumentException">The folder, the data, the model and the settings do not go together; the message says why.</exception>
    public static int Start(TrainSettings s, IBackend backend)
    {
        if (s.Out.Length == 0 || File.Exists(s.Out))
            throw new ArgumentException($"--out '{s.Out}' is no folder");
        TrainingFolder folder = new(s.Out, s.SaveTotalLimit, s.Bf16 ? DType.BF16 : DType.F32);
        if (s.Resume && s.Overwrite)
            throw new ArgumentException("--resume continues what is in --out, --overwrite replaces it: choose one");
        if (s.Model is { } model && RealPath.Holds(s.Out, model))
            throw new ArgumentException($"--out {s.Out} holds the checkpoint at --model, which a run would replace: choose another folder");
        RequireFree();
        using TrainPlan plan = TrainPlan.Make(s, backend);
        using Trainer trainer = new(plan.Model, plan.Data, plan.Options);
        using IDisposable alone = folder.Lock();
        RequireFree();      // another run may have ended since
        bool resumed = s.Resume && folder.Resume(trainer);
        if (!resumed)
            folder.Start();
        Console.Error.WriteLine($"{s.Title}: {plan.Model.Weights.Count:n0} parameters, {plan.DataSize}, {plan.Options.Steps} steps"
            + (resumed ? $", resumed after {trainer.StepsTaken}" : s.Resume ? ", nothing to resume yet" : ""));
        foreach (string note in plan.Notes)
            Console.Error.WriteLine($"note: {note}");
        return new TrainRun(s, plan, folder, trainer).Run();

        void RequireFree()
        {
            if (folder.IsUsed && !s.Overwrite && !s.Resume)
                throw new ArgumentException($"{s.Out} already holds a checkpoint; continue it with --resume, replace it with --overwrite, or choose another folder");
        }
    }

    private int Run()
    {
        using StopSignal stop = new();
        long start = Stopwatch.GetTimestamp();
        using TrainingLog log = new(folder.LogFile, trainer.StepsTaken, _routerLosses);
        using EventFile? events = s.EventFolder is null ? null : new EventFile(s.EventFolder, trainer.StepsTaken);
        ProgressLine progress = new(_options.Steps, trainer.StepsTaken);
        bool looks = s.Eval.Strategy != IntervalStrategy.No;
        TrainStep? last = null;
        float? validation = null;
        try
        {
            trainer.Run(step =>
            {
                last = step;
                bool ends = step.Step == _options.Steps, evaluates = looks && (ends || s.Eval.IsDue(step.Step, plan.StepsPerEpoch));
                if (evaluates)
                    validation = trainer.Validate(windows: ends ? 0 : 16 * _options.BatchSize);
                if (ends || evaluates || s.Log.IsDue(step.Step, plan.StepsPerEpoch))
                {
                    log.Write(step, evaluates ? validation : null);
                    events?.Write(step.Step, EventFile.Scalars(step, evaluates ? validation : null, _routerLosses));
                }
                if (s.Save.IsDue(step.Step, plan.StepsPerEpoch))
                    Save();
                progress.Show(step, validation, keep: evaluates || step.Step == 1);
            }, stop.Token);
            Save();
        }
        catch (ArithmeticException e)
        {
            string saved = folder.Newest is { } newest ? $"the last checkpoint is {newest}" : "nothing was saved";
            throw new ArithmeticException($"{e.Message}; {saved}", e);
        }
        stop.Dispose();     // all is saved: from here on Ctrl-C ends the process
        progress.End();

        bool interrupted = trainer.StepsTaken < _options.Steps;
        if (!interrupted && looks)
            validation ??= trainer.Validate();
        Summarise(last, validation, interrupted, Stopwatch.GetElapsedTime(start).TotalSeconds);
        return interrupted ? Program.Interrupted : Program.Success;

        void Save()
        {
            log.FlushToDisk();
            events?.FlushToDisk();
            folder.Save(trainer);
        }
    }

    /// <param name="last">Null when there was nothing left to do.</param>
    private void Summarise(TrainStep? last, float? validation, bool interrupted, double seconds)
    {
        int steps = trainer.StepsTaken;
        if (s.Json)
            Common.PrintJson(new JsonObject
            {
                ["steps"] = steps,
                ["train_loss"] = last?.Loss,
                ["validation_loss"] = validation,
                ["experts_per_token"] = new JsonArray([.. (last?.ExpertsPerToken ?? []).Select(static e => (JsonNode)e)]),
                ["seconds"] = Math.Round(seconds, 1),
                ["checkpoint"] = s.Out,
            });
        else if (interrupted)
            Console.WriteLine($"stopped after {steps} steps in {seconds:f0} s; saved to {s.Out}, --resume continues");
        else
            Console.WriteLine($"{(validation is { } v ? $"validation loss {v:f4}" : last is not null ? $"loss {last.Loss:f4}" : "nothing was left to do")} after {steps} steps in {seconds:f0} s; saved to {s.Out}");
    }
}
