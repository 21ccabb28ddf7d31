using System.Diagnostics;
using System.Text.Json.Nodes;
using MoeFromScratch.Model;
using MoeFromScratch.Model.Training;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Training;

/// <summary>A training run from its start, or where it stopped, to its end or until somebody stops it.</summary>
/// <param name="events">TensorBoard's file; null for none.</param>
internal sealed class TrainRun(TrainSettings s, TrainPlan plan, TrainingFolder folder, Trainer trainer, EventFile? events)
{
    private readonly TrainOptions _options = plan.Options;
    private readonly string[] _routerLosses = [.. plan.Options.RouterLosses.Select(static l => l.Name)];
    private (int Step, float Loss)? _best;      // as far as it is asked for

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
        using EventFile? events = s.EventFolder is null ? null : new EventFile(s.EventFolder, trainer.StepsTaken);
        if (!resumed)
            folder.Start();     // takes away what was there, so all that can be refused is before it
        Console.Error.WriteLine($"{s.Title}: {plan.Model.Weights.Count:n0} parameters, {plan.DataSize}, {plan.Options.Steps} steps"
            + (resumed ? $", resumed after {trainer.StepsTaken}" : s.Resume ? ", nothing to resume yet" : ""));
        foreach (string note in plan.Notes)
            Console.Error.WriteLine($"note: {note}");
        return new TrainRun(s, plan, folder, trainer, events).Run();

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
        if (s.LoadBest)
            foreach ((int step, float loss) in log.Evaluations.Where(e => folder.Has(e.Step)))
                IsBest(step, loss);
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
                    validation = trainer.Validate(windows: ends || s.LoadBest ? 0 : 16 * _options.BatchSize);
                bool best = evaluates && s.LoadBest && IsBest(step.Step, validation!.Value);
                if (ends || evaluates || s.Log.IsDue(step.Step, plan.StepsPerEpoch))
                {
                    log.Write(step, evaluates ? validation : null);
                    events?.Write(step.Step, EventFile.Scalars(step, evaluates ? validation : null, _routerLosses));
                }
                if (best || s.Save.IsDue(step.Step, plan.StepsPerEpoch))
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
        bool interrupted = trainer.StepsTaken < _options.Steps;
        if (interrupted)
            _best = null;
        if (_best is { } chosen)
            folder.Export(chosen.Step);
        stop.Dispose();     // all is saved: from here on Ctrl-C ends the process
        progress.End();

        if (!interrupted && looks)
            validation = _best?.Loss ?? validation ?? trainer.Validate();
        Summarise(last, validation, interrupted, Stopwatch.GetElapsedTime(start).TotalSeconds);
        return interrupted ? Program.Interrupted : Program.Success;

        void Save()
        {
            log.FlushToDisk();
            events?.FlushToDisk();
            folder.Save(trainer);
        }
    }

    /// <summary>Whether a step has the lowest validation loss so far; then its checkpoint is kept.</summary>
    private bool IsBest(int step, float loss)
    {
        if (!(loss < (_best?.Loss ?? float.PositiveInfinity)))
            return false;
        _best = (step, loss);
        folder.Kept = step;
        return true;
    }

    /// <param name="last">Null when there was nothing left to do.</param>
    private void Summarise(TrainStep? last, float? validation, bool interrupted, double seconds)
    {
        int steps = trainer.StepsTaken;
        if (s.Json)
        {
            JsonObject json = new()
            {
                ["steps"] = steps,
                ["train_loss"] = last?.Loss,
                ["validation_loss"] = validation,
                ["experts_per_token"] = new JsonArray([.. (last?.ExpertsPerToken ?? []).Select(static e => (JsonNode)e)]),
                ["seconds"] = Math.Round(seconds, 1),
                ["checkpoint"] = s.Out,
            };
            if (_best is { } best)
                json["best_step"] = best.Step;
            Common.PrintJson(json);
        }
        else if (interrupted)
            Console.WriteLine($"stopped after {steps} steps in {seconds:f0} s; saved to {s.Out}, --resume continues");
        else
        {
            string loss = validation is { } v ? $"validation loss {v:f4}" : last is not null ? $"loss {last.Loss:f4}" : "nothing was left to do";
            Console.WriteLine($"{loss}{(_best is { } best ? $" at step {best.Step}, the best," : "")} after {steps} steps in {seconds:f0} s; saved to {s.Out}");
        }
    }
}
