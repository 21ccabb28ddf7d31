using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests;

/// <summary>The backends that a model is held to, by a name that a theory can print.</summary>
public static class Machines
{
    public const string Reference = "reference";

    /// <summary>The CPU backend in every vector width, alone and with company.</summary>
    public static IReadOnlyList<string> Cpus { get; } =
        [.. from lanes in new[] { 4, 8, 16 } from threads in new[] { 1, 2 } select Cpu(lanes, threads)];

    public static IReadOnlyList<string> All { get; } = [Reference, .. Cpus];

    public static string Cpu(int lanes, int threads) => $"cpu {lanes} lanes, {threads} threads";

    /// <summary>Every case on every one of these machines.</summary>
    public static TheoryData<string, string> Runs(IEnumerable<string> cases, IEnumerable<string> machines)
    {
        TheoryData<string, string> runs = [];
        foreach (string c in cases)
            foreach (string machine in machines)
                runs.Add(c, machine);
        return runs;
    }

    /// <summary>Backends hand out memory full of NaNs, so that nothing is right by accident.</summary>
    public static IBackend Make(string name)
    {
        if (name == Reference)
            return new ReferenceBackend(poison: true);
        string[] words = name.Split(' ');
        int threads = int.Parse(words[3], System.Globalization.CultureInfo.InvariantCulture);
        return words[1] switch
        {
            "4" => CpuBackend.Create<Lanes4>(threads, poison: true),
            "8" => CpuBackend.Create<Lanes8>(threads, poison: true),
            "16" => CpuBackend.Create<Lanes16>(threads, poison: true),
            _ => throw new ArgumentException($"there is no machine {name}"),
        };
    }
}
