using System.Collections.Concurrent;
using System.Reflection;
using ILGPU;
using ILGPU.Runtime;

namespace MoeFromScratch.KernelCheck;

/// <summary>A constructed kernel method, re-emitted: its places for messages and where its threads wait.</summary>
internal abstract class KernelCode(MethodInfo method, Emitted code)
{
    private static readonly ConcurrentDictionary<MethodInfo, KernelCode> s_kernels = [];
    private readonly ConcurrentDictionary<int, int> _constants = [];

    public string Name { get; } = Names.Of(method);
    public IReadOnlyList<SyncPoint> Syncs { get; } = code.Syncs;

    /// <summary>The texts of inline PTX, and how many registers they declare.</summary>
    public IReadOnlyList<PtxProgram> Programs { get; } = code.Programs;
    public int Registers { get; } = code.Registers;

    /// <summary>" at File.cs:12", or method and IL offset where no symbols are found.</summary>
    public string LineOf(int site) => site < code.Sites.Count ? " at " + Lines.Of(code.Sites[site]) : "";

    /// <summary>A number that must be the same in all launches of this kernel.</summary>
    public void Constant(int site, int value, Func<KernelFault> otherwise)
    {
        if (_constants.GetOrAdd(site, value) != value)
            throw otherwise();
    }

    protected static KernelCode Cached(MethodInfo method, Func<MethodInfo, KernelCode> make) => s_kernels.GetOrAdd(method, make);
}

internal delegate void ViewCheck<TArgs>(Machine m, ref TArgs args);

internal abstract class Kernel<TArgs>(MethodInfo method, Emitted code) : KernelCode(method, code)
{
    public ViewCheck<TArgs>? CheckViews { get; } = code.ViewCheck?.CreateDelegate<ViewCheck<TArgs>>();

    public static Kernel<TArgs> Of(Delegate action)
    {
        MethodInfo method = action.Method;
        Rules.CheckKernel(method, action.Target);
        return (Kernel<TArgs>)Cached(method, static method =>
        {
            Emitted code = Emitter.Emit(method, typeof(TArgs));
            return (Kernel<TArgs>)Activator.CreateInstance(typeof(Kernel<,>).MakeGenericType(typeof(TArgs), code.Frame), method, code)!;
        });
    }

    public abstract void Run(Accelerator accelerator, KernelConfig config, TArgs args);
}

internal sealed class Kernel<TArgs, TFrame>(MethodInfo method, Emitted code) : Kernel<TArgs>(method, code)
{
    private readonly Body<TArgs, TFrame> _body = code.Body.CreateDelegate<Body<TArgs, TFrame>>();

    public override void Run(Accelerator accelerator, KernelConfig config, TArgs args) => accelerator.Machine.Run(this, _body, config, ref args);
}
