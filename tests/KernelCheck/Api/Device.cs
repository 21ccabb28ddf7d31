using MoeFromScratch.KernelCheck;

namespace ILGPU.Runtime
{
    public abstract class Device
    {
        private protected Device(string name, AcceleratorType type) => (Name, AcceleratorType) = (name, type);

        public string Name { get; }
        public AcceleratorType AcceleratorType { get; }
        public long MemorySize => Arena.Bytes;
        public Index3D MaxGridSize => new(int.MaxValue, 65535, 65535);
        public Index3D MaxGroupSize => new(MaxNumThreadsPerGroup, MaxNumThreadsPerGroup, 64);
        public int MaxNumThreadsPerGroup => Machine.MaxThreads;
        public int MaxSharedMemoryPerGroup => Machine.MaxShared;
        public int MaxConstantMemory => 65536;
        public int WarpSize => Machine.Warp;
        public int NumMultiprocessors => 4;
        public int MaxNumThreadsPerMultiprocessor => 2048;
        public int MaxNumThreads => NumMultiprocessors * MaxNumThreadsPerMultiprocessor;

        public abstract Accelerator CreateAccelerator(Context context);
    }
}

namespace ILGPU.Runtime.CPU
{
    /// <summary>KernelCheck's one device, at the place where ILGPU has its CPU.</summary>
    public sealed class CPUDevice : Device
    {
        public static readonly CPUDevice Default = new();

        private CPUDevice() : base("KernelCheck", AcceleratorType.CPU) { }

        public override Accelerator CreateAccelerator(Context context) => CreateCPUAccelerator(context);
        public CPUAccelerator CreateCPUAccelerator(Context context) => new(context, this);
        public CPUAccelerator CreateCPUAccelerator(Context context, CPUAcceleratorMode mode) => new(context, this);
    }

    public static class CPUContextExtensions
    {
        public static Context.Builder CPU(this Context.Builder builder) => builder.Add(CPUDevice.Default);

        public static Context.Builder CPU(this Context.Builder builder, Predicate<CPUDevice> predicate) =>
            builder.Add(CPUDevice.Default, predicate(CPUDevice.Default));

        public static Context.Builder DefaultCPU(this Context.Builder builder) => builder.CPU();

        public static CPUDevice GetCPUDevice(this Context context, int cpuDeviceIndex) =>
            context.Devices.OfType<CPUDevice>().ElementAt(cpuDeviceIndex);

        public static CPUAccelerator CreateCPUAccelerator(this Context context, int cpuDeviceIndex) =>
            context.GetCPUDevice(cpuDeviceIndex).CreateCPUAccelerator(context);

        public static CPUAccelerator CreateCPUAccelerator(this Context context, int cpuDeviceIndex, CPUAcceleratorMode mode) =>
            context.CreateCPUAccelerator(cpuDeviceIndex);
    }
}

namespace ILGPU.Runtime.Cuda
{
    /// <summary>There is no CUDA device here: asking for one adds none.</summary>
    public static class CudaContextExtensions
    {
        public static Context.Builder Cuda(this Context.Builder builder) => builder;
    }
}

namespace ILGPU.Runtime.OpenCL
{
    /// <summary>There is no OpenCL device here: asking for one adds none.</summary>
    public static class CLContextExtensions
    {
        public static Context.Builder OpenCL(this Context.Builder builder) => builder;
    }
}
