using ILGPU;
using ILGPU.Runtime;
using MoeFromScratch.Gpu.Ladder;
using MoeFromScratch.Tensors;

namespace MoeFromScratch.Gpu;

/// <summary>
/// The seam on an ILGPU device. Every operation of a family stands beside its kernel, in a file named as in
/// <c>src/Tensors/Reference</c> (Moe is Selection, SelectTokens, Slots, Moving and Segments here); <c>Steps.cs</c> says how small operations share a launch. Operations are queued and return at once; <see cref="Download"/> waits.
/// </summary>
public sealed partial class GpuBackend : IBackend
{
    private readonly Context _context;
    private readonly Accelerator _accelerator;
    private readonly DeviceMemory _memory;
    private readonly Dictionary<Type, Delegate> _kernels = [];
    private readonly bool _checked;
    private readonly Rung? _rung, _cores;
    private long _launches, _downloads;

    /// <param name="context">The backend's from now on, as the accelerator is.</param>
    /// <param name="accelerator">Where kernels run.</param>
    /// <param name="name">What <c>--device</c> calls it.</param>
    /// <param name="groupSize">Threads of a group that runs steps or reads weights once: whole warps, at most <see cref="MostThreads"/>; tiles say their own.</param>
    /// <param name="check">Download indices and offsets to check them before every operation that takes some (tests).</param>
    /// <param name="precision">What factors may be rounded to: see <see cref="RungFor"/>.</param>
    /// <param name="rung">What takes the place of the product's own kernel in F32; null: nothing.</param>
    internal GpuBackend(Context context, Accelerator accelerator, string name, int groupSize = MostThreads, bool check = false,
        Precision precision = Precision.F32, Rung? rung = null)
    {
        (_context, _accelerator, Name, _checked, _rung) = (context, accelerator, name, check, rung);
        _cores = precision switch { Precision.Tf32 => Rung.Tf32, Precision.Bf16 => Rung.Bf16, _ => null };
        _memory = new DeviceMemory(accelerator);
        GroupSize = groupSize;
    }

    internal const int MostThreads = 256;

    public string Name { get; }

    public bool IsDevice => true;

    public int LiveBuffers => _memory.LiveBuffers;

    /// <summary>What was done so far.</summary>
    public GpuCounts Counts => new(_launches, _downloads);

    /// <summary>Whether it is CUDA and has what came with sm_80: tensor cores for F32's factors, and copies past the registers.</summary>
    internal bool HasTensorCores { get; init; } = true;

    private int GroupSize { get; }

    public Storage Allocate(long bytes) => _memory.Rent(bytes);

    public void Free(Storage storage) => _memory.Return(_memory.Mine(storage));

    public void Upload(ReadOnlySpan<byte> source, Tensor y)
    {
        Check.That(source.Length == y.Bytes, "an upload fills its tensor exactly");
        if (_linears.Count > 0 || IsTouched(y))
            Flush();
        if (source.Length > 0)
            View<byte>(y).CopyFromCPU(_accelerator.DefaultStream, source);
    }

    public void Download(Tensor x, Span<byte> target)
    {
        Check.That(target.Length == x.Bytes, "a download takes its tensor exactly");
        Flush();
        if (target.Length == 0)
            return;
        _downloads++;
        View<byte>(x).CopyToCPU(_accelerator.DefaultStream, target);
        _accelerator.DefaultStream.Synchronize();
    }

    /// <exception cref="NotSupportedException">The tensor is quantised: its kernels are the CPU's so far.</exception>
    public Tensor Import(Tensor host)
    {
        if (host.DType.IsQuantised())
            throw new NotSupportedException($"{host.Describe()} is quantised, which this device does not read; choose the device cpu");
        Tensor y = new(host.Shape, host.DType, Allocate(host.Bytes)) { Name = host.Name };
        Upload(host.Host<byte>(), y);
        return y;
    }

    public void Dispose()
    {
        _memory.Dispose();
        _accelerator.Dispose();
        _context.Dispose();
    }

    /// <summary>A tensor's elements, for a kernel.</summary>
    private ArrayView<T> View<T>(Tensor x) where T : unmanaged
    {
        DeviceStorage storage = _memory.Mine(x.Storage);
        _viewed.Add(storage);
        return storage.View(x.ByteOffset, x.Bytes).Cast<T>();
    }

    /// <summary>As <see cref="View{T}"/>; a view of nothing for null.</summary>
    private ArrayView<T> ViewOrNone<T>(Tensor? x) where T : unmanaged => x is null ? ArrayView<T>.Empty : View<T>(x);

    /// <summary>The tensor, or where indices are checked, its copy on the host.</summary>
    private Tensor Readable(Tensor x)
    {
        if (!_checked)
            return x;
        Tensor copy = new(x.Shape, x.DType, new NativeStorage(x.Bytes)) { Name = x.Name };
        Download(x, copy.Host<byte>());
        return copy;
    }

    private SlotRange Readable(in SlotRange range) => range.Offsets is { } offsets ? range with { Offsets = Readable(offsets) } : range;

    /// <summary>Runs a kernel on so many groups, after whatever waits to be launched.</summary>
    private void Launch<TKernel, TArgs>(Index3D grid, int group, TArgs args)
        where TKernel : struct, IKernel<TArgs>
        where TArgs : struct
    {
        Flush();
        Start<TKernel, TArgs>(grid, group, args);
        _viewed.Clear();
    }

    private void Start<TKernel, TArgs>(Index3D grid, int group, TArgs args)
        where TKernel : struct, IKernel<TArgs>
        where TArgs : struct
    {
        if (grid.X == 0 || grid.Y == 0 || grid.Z == 0)
            return;
        if (!_kernels.TryGetValue(typeof(TKernel), out Delegate? kernel))
            _kernels.Add(typeof(TKernel), kernel = _accelerator.LoadStreamKernel<TArgs>(Entry<TKernel, TArgs>));
        ((Action<KernelConfig, TArgs>)kernel)(new KernelConfig(grid, new Index3D(group, 1, 1)), args);
        _launches++;
    }

    /// <summary>What ILGPU compiles for a kernel.</summary>
    internal static void Entry<TKernel, TArgs>(TArgs args)
        where TKernel : struct, IKernel<TArgs>
        where TArgs : struct => TKernel.Run(args);
}

/// <summary>A kernel: what one thread does. A type, so that the compiled one is found by it.</summary>
internal interface IKernel<TArgs> where TArgs : struct
{
    static abstract void Run(TArgs args);
}
