using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MoeFromScratch.Model.Training;

/// <summary>One JSON object per line and step, written as the step ends; a resumed run's log reads as if it had never stopped.</summary>
public sealed class TrainingLog : IDisposable
{
    private readonly FileStream _file;
    private readonly IReadOnlyList<string> _routerLosses;
    private readonly List<(int Step, float Loss)> _evaluations = [];

    /// <summary>Opens a log for appending and cuts off what lies behind a step: lines of steps that will be taken again, and half a line.</summary>
    /// <param name="routerLosses">Names of the values in <see cref="TrainStep.RouterLosses"/>.</param>
    public TrainingLog(string path, int afterStep, IEnumerable<string> routerLosses)
    {
        _routerLosses = [.. routerLosses];
        _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        _file.SetLength(EndOf(_file, afterStep));
        _file.Seek(0, SeekOrigin.End);
    }

    /// <summary>The evaluations of the lines that were there.</summary>
    public IReadOnlyList<(int Step, float Loss)> Evaluations => _evaluations;

    /// <param name="validation">Where the step was followed by an evaluation.</param>
    public void Write(TrainStep step, float? validation)
    {
        JsonObject losses = [];
        foreach ((int i, string name) in _routerLosses.Index())
            losses[name] = step.RouterLosses[i];
        JsonObject line = new()
        {
            ["step"] = step.Step,
            ["loss"] = step.Loss,
            ["router_losses"] = losses,
            ["grad_norm"] = step.GradNorm,
            ["learning_rate"] = step.LearningRate,
            ["tokens_per_second"] = Math.Round(step.TokensPerSecond, 1),
            ["experts_per_token"] = new JsonArray([.. step.ExpertsPerToken.Select(static e => (JsonNode)e)]),
        };
        if (step.DroppedPerToken.Any(static d => d > 0))
            line["dropped_per_token"] = new JsonArray([.. step.DroppedPerToken.Select(static d => (JsonNode)d)]);
        if (validation is { } value)
            line["validation_loss"] = value;
        _file.Write(Encoding.UTF8.GetBytes(line.ToJsonString() + '\n'));
        _file.Flush();
    }

    /// <summary>Onto the disk, before a checkpoint that counts on these lines.</summary>
    public void FlushToDisk() => _file.Flush(flushToDisk: true);

    public void Dispose() => _file.Dispose();

    /// <summary>Bytes up to the end of a step's line.</summary>
    private int EndOf(FileStream file, int step)
    {
        byte[] bytes = new byte[file.Length];
        file.ReadExactly(bytes);
        int end = 0, length;
        while ((length = bytes.AsSpan(end).IndexOf((byte)'\n')) >= 0 && Read(bytes.AsSpan(end, length)) is { } line && line.Step <= step)
        {
            end += length + 1;
            if (line.Validation is { } loss)
                _evaluations.Add((line.Step, loss));
        }
        return end;
    }

    private static (int Step, float? Validation)? Read(ReadOnlySpan<byte> text)
    {
        try
        {
            return JsonNode.Parse(text) is { } line && (int?)line["step"] is { } step ? (step, (float?)line["validation_loss"]) : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }
}
