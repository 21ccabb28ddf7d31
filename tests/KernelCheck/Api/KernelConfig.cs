namespace ILGPU;

public readonly struct SharedMemoryConfig(int numElements, int elementSize)
{
    public static readonly SharedMemoryConfig Empty;

    public int NumElements { get; } = numElements;
    public int ElementSize { get; } = elementSize;
    public bool UsesDynamicSharedMemory => NumElements > 0;
    public int ArraySize => NumElements * ElementSize;

    public static unsafe SharedMemoryConfig RequestDynamic<T>(int numElements) where T : unmanaged => new(numElements, sizeof(T));
}

public readonly struct KernelConfig
{
    public KernelConfig(Index1D gridDim, Index1D groupDim) : this(gridDim, groupDim, default) { }

    public KernelConfig(Index1D gridDim, Index1D groupDim, SharedMemoryConfig sharedMemoryConfig)
        : this(new Index3D(gridDim, 1, 1), new Index3D(groupDim, 1, 1), sharedMemoryConfig) { }

    public KernelConfig(Index2D gridDim, Index2D groupDim) : this(gridDim, groupDim, default) { }

    public KernelConfig(Index2D gridDim, Index2D groupDim, SharedMemoryConfig sharedMemoryConfig)
        : this(new Index3D(gridDim.X, gridDim.Y, 1), new Index3D(groupDim.X, groupDim.Y, 1), sharedMemoryConfig) { }

    public KernelConfig(Index3D gridDim, Index3D groupDim) : this(gridDim, groupDim, default) { }

    public KernelConfig(Index3D gridDim, Index3D groupDim, SharedMemoryConfig sharedMemoryConfig) =>
        (GridDim, GroupDim, SharedMemoryConfig) = (gridDim, groupDim, sharedMemoryConfig);

    public Index3D GridDim { get; }
    public Index3D GroupDim { get; }
    public SharedMemoryConfig SharedMemoryConfig { get; }
    public bool UsesDynamicSharedMemory => SharedMemoryConfig.UsesDynamicSharedMemory;
    public long Size => GridDim.LongSize * GroupDim.LongSize;

    public static implicit operator KernelConfig((Index1D, Index1D) dimensions) => new(dimensions.Item1, dimensions.Item2);

    public static implicit operator KernelConfig((Index1D, Index1D, SharedMemoryConfig) dimensions) =>
        new(dimensions.Item1, dimensions.Item2, dimensions.Item3);

    public static implicit operator KernelConfig((Index2D, Index2D) dimensions) => new(dimensions.Item1, dimensions.Item2);

    public static implicit operator KernelConfig((Index3D, Index1D) dimensions) => new(dimensions.Item1, new Index3D(dimensions.Item2, 1, 1));

    public static implicit operator KernelConfig((Index3D, Index2D) dimensions) =>
        new(dimensions.Item1, new Index3D(dimensions.Item2.X, dimensions.Item2.Y, 1));

    public static implicit operator KernelConfig((Index3D, Index3D) dimensions) => new(dimensions.Item1, dimensions.Item2);

    public static implicit operator KernelConfig((Index3D, Index3D, SharedMemoryConfig) dimensions) =>
        new(dimensions.Item1, dimensions.Item2, dimensions.Item3);

    public static implicit operator (Index3D, Index3D)(KernelConfig config) => (config.GridDim, config.GroupDim);

    public static implicit operator (Index3D, Index3D, SharedMemoryConfig)(KernelConfig config) =>
        (config.GridDim, config.GroupDim, config.SharedMemoryConfig);
}
