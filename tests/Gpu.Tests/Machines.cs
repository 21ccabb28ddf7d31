using MoeFromScratch.Gpu.Tests;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Model.Tests;

/// <summary>What the golden models run on in this project: the device's kernels, by KernelCheck.</summary>
internal static class Machines
{
    public const string KernelCheck = "KernelCheck";

    public static IReadOnlyList<string> All { get; } = [KernelCheck];

    /// <summary>Every case on every one of these machines.</summary>
    public static TheoryData<string, string> Runs(IEnumerable<string> cases, IEnumerable<string> machines)
    {
        TheoryData<string, string> runs = [];
        foreach (string c in cases)
            foreach (string machine in machines)
                runs.Add(c, machine);
        return runs;
    }

    public static IBackend Make(string name) => name == KernelCheck ? Devices.Create() : throw new ArgumentException($"there is no machine {name}");
}
