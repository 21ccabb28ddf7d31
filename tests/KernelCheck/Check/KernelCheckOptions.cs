namespace MoeFromScratch.KernelCheck;

/// <summary>In which order the threads of a group, and the groups of a grid, take their turns.</summary>
public enum ThreadOrder
{
    Forward,
    Reversed,
    /// <summary>Groups, warps and lanes shuffled by <see cref="KernelCheckOptions.Seed"/>, anew at every launch.</summary>
    Seeded,
}

/// <summary>How launches run and what they check: <c>using (new KernelCheckOptions { Order = ... }.Use()) { ... }</c>.</summary>
public sealed record KernelCheckOptions
{
    private static readonly AsyncLocal<KernelCheckOptions?> s_current = new();

    public ThreadOrder Order { get; init; }

    public int Seed { get; init; } = 1;

    /// <summary>Report buffers that are alive when their accelerator is disposed of.</summary>
    public bool Leaks { get; init; } = true;

    /// <summary>Report reads of device memory that was never written. (Shared memory is always checked.)</summary>
    public bool Uninitialised { get; init; } = true;

    /// <summary>Those in force on this thread and what it awaits.</summary>
    public static KernelCheckOptions Current => s_current.Value ?? Default;

    private static KernelCheckOptions Default { get; } = new();

    /// <summary>In force until the result is disposed of.</summary>
    public IDisposable Use()
    {
        KernelCheckOptions? before = s_current.Value;
        s_current.Value = this;
        return new Scope(before);
    }

    private sealed class Scope(KernelCheckOptions? before) : IDisposable
    {
        public void Dispose() => s_current.Value = before;
    }
}
