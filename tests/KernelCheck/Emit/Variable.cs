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

    /// <summary>The number of the binding that it is the variable of, −1 for none.</summary>
    public int Owner { get; set; } = -1;
}

/// <summary>What one method, inlined at one place, knows of an argument or local.</summary>
internal sealed class Binding(int number, Type type)
{
    /// <summary>The same in each walk.</summary>
    public int Number { get; } = number;
    public Type Type { get; } = type;

    /// <summary>
    /// Where it is kept; null for a reference that is known to be <see cref="Alias"/>, which is emitted anew at each use, and for an
    /// argument that nobody changes and that equals <see cref="Copy"/> for as long as it is needed.
    /// </summary>
    public Variable? Variable { get; set; }
    public Place? Alias { get; set; }
    public Place? Copy { get; set; }

    public bool Constant { get; set; }

    /// <summary>Assigned in at most one place, which makes it as constant as what is assigned.</summary>
    public bool Single { get; set; }
}

/// <summary>A variable, or a field within it.</summary>
internal sealed record Place(Variable Variable, FieldInfo[] Path)
{
    public Place Field(FieldInfo field) => new(Variable, [.. Path, field]);
}

/// <summary>
/// A value on the evaluation stack: its type (comparisons are bool, as in ILGPU, whatever IL says), whether a compiler would know it, whose
/// address it is, where it can be read again, whether it is the constant 0 or 1, which may become a bool, and the text of a string.
/// </summary>
internal readonly record struct Value(Type Type, bool Constant = false, Place? Place = null, Place? From = null, bool Bit = false, string? Text = null)
{
    public bool IsTruth => Type == typeof(bool);
}

/// <summary>What the first walks over the code find out for the last.</summary>
internal sealed class Facts
{
    /// <summary>Bindings that are assigned, or changed by way of their address, after they were bound. From the first walk.</summary>
    public HashSet<int> Changed { get; init; } = [];

    /// <summary>Bindings whose address is kept in a reference. From the first walk.</summary>
    public HashSet<int> Escaped { get; init; } = [];

    /// <summary>Variables whose address is kept in a reference: they live in the frame, which does not move.</summary>
    public HashSet<int> Resident { get; } = [];

    /// <summary>Variables that a thread must find again after it has waited.</summary>
    public SortedDictionary<int, Type> Saved { get; } = [];

    /// <summary>Kernel arguments that are assigned to, or whose address escapes.</summary>
    public HashSet<int> ChangedArguments { get; } = [];

    /// <summary>Variables of kernel arguments, and which.</summary>
    public Dictionary<int, int> ArgumentAt { get; } = [];

    /// <summary>Fields of the frame, in order.</summary>
    public List<int> Fields { get; } = [];

    public Dictionary<int, Type> Types { get; } = [];
}

/// <summary>The result of emission.</summary>
internal sealed record Emitted(DynamicMethod Body, DynamicMethod? ViewCheck, Type Frame, IReadOnlyList<SyncPoint> Syncs, IReadOnlyList<Site> Sites,
    IReadOnlyList<PtxProgram> Programs, int Registers);
