using System.Reflection;
using System.Reflection.Emit;

namespace MoeFromScratch.KernelCheck;

/// <summary>A local, an argument or a spilled value of the emitted method.</summary>
internal sealed class Variable(int number, Type type, LocalBuilder local)
{
    public int Number { get; } = number;
    public Type Type { get; } = type;
    public LocalBuilder Local { get; } = local;

    /// <summary>The kernel's argument that it is filled with at each turn, −1 for none.</summary>
    public int Argument { get; set; } = -1;
}

/// <summary>What one method, inlined at one place, knows of an argument or local.</summary>
internal sealed class Binding(Type type)
{
    public Type Type { get; } = type;

    /// <summary>Where it is kept; null for a reference that is known to be <see cref="Alias"/>, which is emitted anew at each use.</summary>
    public Variable? Variable { get; set; }
    public Place? Alias { get; set; }

    public bool Constant { get; set; }

    /// <summary>Assigned in at most one place, which makes it as constant as what is assigned.</summary>
    public bool Single { get; set; }
}

/// <summary>A variable, or a field within it.</summary>
internal sealed record Place(Variable Variable, FieldInfo[] Path)
{
    public Place Field(FieldInfo field) => new(Variable, [.. Path, field]);
}

/// <summary>A value on the evaluation stack: its type, whether a compiler would know it, and whose address it is.</summary>
internal readonly record struct Value(Type Type, bool Constant = false, Place? Place = null);

/// <summary>What a first walk over the code finds out for the second.</summary>
internal sealed class Facts
{
    /// <summary>Variables whose address is kept in a reference: they live in the frame, which does not move.</summary>
    public HashSet<int> Resident { get; } = [];

    /// <summary>Variables that a thread must find again after it has waited.</summary>
    public SortedDictionary<int, Type> Saved { get; } = [];

    /// <summary>Kernel arguments that are assigned to, or whose address escapes.</summary>
    public HashSet<int> ChangedArguments { get; } = [];

    /// <summary>Fields of the frame, in order.</summary>
    public List<int> Fields { get; } = [];

    public Dictionary<int, Type> Types { get; } = [];
}

/// <summary>The result of emission.</summary>
internal sealed record Emitted(DynamicMethod Body, DynamicMethod? ViewCheck, Type Frame, IReadOnlyList<SyncPoint> Syncs, IReadOnlyList<Site> Sites);
