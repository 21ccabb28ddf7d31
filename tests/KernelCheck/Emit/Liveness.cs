using System.Collections.Concurrent;
using System.Reflection;
using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

/// <summary>Which arguments (first) and locals (behind them) of a method may still be read, by the offset of the instruction that comes next.</summary>
internal static class Liveness
{
    private static readonly ConcurrentDictionary<MethodBase, Dictionary<int, HashSet<int>>> s_known = [];

    /// <param name="method">Whose body it is.</param>
    /// <param name="code">Its instructions.</param>
    /// <param name="args">How many arguments it has, <c>this</c> among them.</param>
    public static Dictionary<int, HashSet<int>> Of(MethodBase method, List<Instruction> code, int args) =>
        s_known.GetOrAdd(method, _ => Compute(code, args));

    /// <summary>Backwards until nothing is added: read here, or read later and not assigned here.</summary>
    private static Dictionary<int, HashSet<int>> Compute(List<Instruction> code, int args)
    {
        Dictionary<int, HashSet<int>> live = code.ToDictionary(i => i.Offset, _ => new HashSet<int>());
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int n = code.Count - 1; n >= 0; n--)
            {
                Instruction i = code[n];
                HashSet<int> here = live[i.Offset];
                int before = here.Count;
                (int slot, bool assigns) = Access(code, n, args);
                foreach (int next in Next(i))
                    if (live.TryGetValue(next, out HashSet<int>? later))
                        here.UnionWith(assigns && later.Contains(slot) ? later.Where(s => s != slot) : later);
                if (slot >= 0 && !assigns)
                    here.Add(slot);
                changed |= here.Count != before;
            }
        }
        return live;
    }

    /// <summary>A reference is as good as a read, but for one that zeros the whole.</summary>
    private static (int Slot, bool Assigns) Access(List<Instruction> code, int n, int args)
    {
        Instruction i = code[n];
        string name = Emitter.Name(i);
        bool isLocal = name.Contains("loc", StringComparison.Ordinal), isArg = name.Contains("arg", StringComparison.Ordinal);
        if (!isLocal && !isArg || i.Code == OpCodes.Localloc)
            return (-1, false);
        return (Emitter.Number(i) + (isLocal ? args : 0), name.StartsWith("st", StringComparison.Ordinal)
            || name is "ldloca" && n + 1 < code.Count && code[n + 1].Code == OpCodes.Initobj);
    }

    private static IEnumerable<int> Next(Instruction i)
    {
        if (i.Code.FlowControl is not (FlowControl.Branch or FlowControl.Return or FlowControl.Throw))
            yield return i.Next;
        if (i.Code.OperandType is OperandType.InlineBrTarget or OperandType.ShortInlineBrTarget)
            yield return i.Target;
        foreach (int target in i.Operand as int[] ?? [])
            yield return target;
    }
}
