using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace MoeFromScratch.Bench.Peers;

/// <summary>One of two that are measured in turns: a program that prints figures and ends.</summary>
/// <param name="Needs">Files without which it is not there.</param>
internal sealed record Side(string Name, string Program, IReadOnlyList<string> Args, IReadOnlyList<string> Needs)
{
    /// <summary>What is missing of it; null when it can run.</summary>
    public string? Missing => Needs.FirstOrDefault(static f => !Path.Exists(f));

    /// <summary>Runs it in a process of its own.</summary>
    /// <exception cref="InvalidOperationException">It failed; the message ends with what it wrote last.</exception>
    public IReadOnlyDictionary<string, double> Measure(string peers)
    {
        ProcessStartInfo start = new(Program, Args) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PEERS"] = Path.GetFullPath(peers);
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? Figures.Read(output)
            : throw new InvalidOperationException($"{Name} ended with {process.ExitCode}: {error.Result.TrimEnd().Split('\n')[^1]}");
    }
}

/// <summary>What programs print, by name.</summary>
internal static partial class Figures
{
    /// <summary>Lines "name, tab, value", or the line in which llama.cpp's driver says all it knows.</summary>
    public static IReadOnlyDictionary<string, double> Read(string output)
    {
        Dictionary<string, double> figures = [];
        foreach (string line in output.Split('\n'))
            if (Llama().Match(line) is { Success: true } llama)
                foreach (string name in new[] { "load", "prefill", "decode", "rss" })
                    figures[name] = double.Parse(llama.Groups[name].Value, CultureInfo.InvariantCulture);
            else if (line.Split('\t') is [var name, var value] && double.TryParse(value, CultureInfo.InvariantCulture, out double number))
                figures[name] = number;
        return figures;
    }

    [GeneratedRegex(@"^load (?<load>[\d.]+) s,.* pp\d+ median (?<prefill>[\d.]+) .* tg\d+ at context \d+ median (?<decode>[\d.]+) .*peak RSS (?<rss>\d+) MB")]
    private static partial Regex Llama();
}
