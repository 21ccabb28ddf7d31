using System.Diagnostics;
using System.Runtime.InteropServices;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Cli.Measuring;

/// <summary>
/// Passes every kernel on to another backend and keeps the time that each took: where a step's time goes. It waits for nothing,
/// so of a device that works on its own it would see the launches only.
/// </summary>
internal sealed class TimedBackend(IBackend inner) : PassingBackend(inner)
{
    private readonly Dictionary<string, long> _ticks = [];

    /// <summary>Seconds by kernel since the last <see cref="Clear"/>; matmuls also by the layer whose weights they read.</summary>
    public IReadOnlyList<(string Name, double Seconds)> Times =>
        [.. _ticks.Select(static t => (t.Key, (double)t.Value / Stopwatch.Frequency)).OrderByDescending(static t => t.Item2)];

    public void Clear() => _ticks.Clear();

    protected override void Done(string kernel, Tensor? weight, long start) =>
        CollectionsMarshal.GetValueRefOrAddDefault(_ticks, weight is null ? kernel : $"{kernel}, {Layer(weight.Name)}", out _) += Stopwatch.GetTimestamp() - start;

    private static string Layer(string? weight) => weight is null ? "unnamed"
        : weight.Contains(".self_attn.", StringComparison.Ordinal) ? "attention"
        : weight.Contains(".gate", StringComparison.Ordinal) && !weight.Contains("_proj", StringComparison.Ordinal) ? "router"
        : weight.Contains(".mlp.", StringComparison.Ordinal) ? "feed-forward" : "output";
}
