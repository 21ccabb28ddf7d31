using System.Diagnostics;
using System.Globalization;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Bench.Peers;

/// <param name="Key">What <see cref="Side"/>s print it as.</param>
/// <param name="Unit">Behind the numbers.</param>
/// <param name="Less">Whether less is better: the ratio is above 1 when ours is the better one.</param>
internal sealed record PeerFigure(string Key, string Unit, bool Less = false);

/// <summary>Ours against another, by one or more figures.</summary>
/// <param name="What">The group it belongs to, by which it is asked for.</param>
internal sealed record PeerMatch(string What, string Title, Side Ours, Side Theirs, params IReadOnlyList<PeerFigure> Figures);

/// <summary>Runs matches in turns, ours, theirs, ours, theirs, and prints them as a table for RESULTS.md.</summary>
internal static class PeerTable
{
    public static void Print(string peers, IReadOnlyList<PeerMatch> matches, int rounds, string command)
    {
        Console.WriteLine(Heading(command) + $" {rounds} rounds in turns, each side in a process of its own; medians, and in brackets the least and the greatest ratio of a round.");
        Console.WriteLine();
        Console.WriteLine("| | ours | theirs | | ratio |");
        Console.WriteLine("|---|---:|---:|---|---:|");
        foreach (PeerMatch match in matches)
            try
            {
                if ((match.Ours.Missing ?? match.Theirs.Missing) is { } missing)
                    Console.Error.WriteLine($"skipped: {match.Title} against {match.Theirs.Name}: there is no {missing}");
                else
                    Row(match, peers, rounds);
            }
            catch (InvalidOperationException e)
            {
                Console.Error.WriteLine($"skipped: {match.Title}: {e.Message}");
            }
    }

    private static void Row(PeerMatch match, string peers, int rounds)
    {
        List<(IReadOnlyDictionary<string, double> Ours, IReadOnlyDictionary<string, double> Theirs)> all = [];
        for (int round = 0; round < rounds; round++)
            all.Add((match.Ours.Measure(peers), match.Theirs.Measure(peers)));
        foreach (PeerFigure figure in match.Figures)
        {
            double[] ours = [.. all.Select(r => r.Ours[figure.Key])], theirs = [.. all.Select(r => r.Theirs[figure.Key])];
            double[] ratios = [.. ours.Zip(theirs, (o, t) => figure.Less ? t / o : o / t)];
            double ratio = figure.Less ? Median(theirs) / Median(ours) : Median(ours) / Median(theirs);
            Console.WriteLine($"| {match.Title}, against {match.Theirs.Name} | {Number(Median(ours))} | {Number(Median(theirs))} | {figure.Unit} | "
                + $"{Number(ratio)} ({Number(ratios.Min())}–{Number(ratios.Max())}) |");
        }
    }

    /// <summary>When, where and by what a table is measured.</summary>
    public static string Heading(string command) =>
        $"{DateTime.UtcNow:yyyy-MM-dd}, {Machine()}, {CpuBackend.Instructions}, {Environment.ProcessorCount} threads, .NET {Environment.Version}, commit {Commit()}, `{command}`:";

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>Three digits: more are noise.</summary>
    public static string Number(double x) => x >= 100 ? x.ToString("n0", CultureInfo.InvariantCulture) : double.Parse(x.ToString("g3", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture);

    private static string Machine() => !File.Exists("/proc/cpuinfo") ? Environment.OSVersion.Platform.ToString()
        : File.ReadLines("/proc/cpuinfo").FirstOrDefault(static l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(": ")[^1] ?? "unknown processor";

    private static string Commit()
    {
        try
        {
            using Process git = Process.Start(new ProcessStartInfo("git", ["rev-parse", "--short", "HEAD"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            return git.StandardOutput.ReadToEnd().Trim() is { Length: > 0 } commit ? commit : "unknown";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "unknown";
        }
    }
}
