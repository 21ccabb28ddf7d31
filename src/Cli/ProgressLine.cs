using System.Diagnostics;
using System.Globalization;
using MoeFromScratch.Model.Training;

namespace MoeFromScratch.Cli;

/// <summary>Training progress on standard error: one line that moves on a terminal, a line now and then elsewhere.</summary>
/// <param name="steps">Of the whole run.</param>
/// <param name="done">Steps taken before a resume, which say nothing about the time that is left.</param>
internal sealed class ProgressLine(int steps, int done)
{
    private readonly bool _terminal = !Console.IsErrorRedirected;
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _shown;

    /// <param name="validation">Null before the first look.</param>
    /// <param name="keep">Whether the line stays on the screen.</param>
    public void Show(TrainStep step, float? validation, bool keep)
    {
        if (!keep && (!_terminal || Stopwatch.GetElapsedTime(_shown).TotalMilliseconds < 100))
            return;
        _shown = Stopwatch.GetTimestamp();
        TimeSpan left = Stopwatch.GetElapsedTime(_start) / (step.Step - done) * (steps - step.Step);
        string line = string.Create(CultureInfo.InvariantCulture,
            $"step {step.Step}/{steps}  loss {step.Loss:f3}{(validation is { } v ? $"  validation {v:f3}" : "")}"
            + $"  experts {step.ExpertsPerToken.DefaultIfEmpty().Average():f2} [{string.Join(' ', step.ExpertsPerToken.Select(static e => $"{e:f1}"))}]"
            + $"  lr {step.LearningRate:g3}  {step.TokensPerSecond:n0} tokens/s  {(long)left.TotalHours}:{left:mm\\:ss} left");
        if (_terminal)
            Console.Error.Write($"\r{(keep ? "" : Bar((double)step.Step / steps) + " ")}{line}\e[K{(keep ? "\n" : "")}");
        else
            Console.Error.WriteLine(line);
    }

    /// <param name="share">From 0 to 1.</param>
    public static string Bar(double share)
    {
        const int Width = 20;
        int full = (int)(share * Width);
        return $"[{new string('#', full)}{new string('.', Width - full)}]";
    }

    /// <summary>Leaves the line.</summary>
    public void End()
    {
        if (_terminal)
            Console.Error.WriteLine();
    }
}
