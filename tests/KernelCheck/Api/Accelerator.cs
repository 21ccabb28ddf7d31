using ILGPU.Util;
using MoeFromScratch.KernelCheck;

namespace ILGPU.Runtime
{
    public abstract class Accelerator : DisposeBase
    {
        private protected Accelerator(Context context, Device device)
        {
            (Context, Device) = (context, device);
            Machine = new Machine(this);
            DefaultStream = CreateStream();
        }

        internal Machine Machine { get; }

        public Context Context { get; }
        public Device Device { get; }
        public AcceleratorStream DefaultStream { get; }
        public string Name => Device.Name;
        public AcceleratorType AcceleratorType => Device.AcceleratorType;
        public long MemorySize => Device.MemorySize;
        public Index3D MaxGridSize => Device.MaxGridSize;
        public Index3D MaxGroupSize => Device.MaxGroupSize;
        public int MaxNumThreadsPerGroup => Device.MaxNumThreadsPerGroup;
        public int MaxSharedMemoryPerGroup => Device.MaxSharedMemoryPerGroup;
        public int MaxConstantMemory => Device.MaxConstantMemory;
        public int WarpSize => Device.WarpSize;
        public int NumMultiprocessors => Device.NumMultiprocessors;
        public int MaxNumThreadsPerMultiprocessor => Device.MaxNumThreadsPerMultiprocessor;
        public int MaxNumThreads => Device.MaxNumThreads;

        public AcceleratorStream CreateStream() => new KernelCheckStream(this);

        public MemoryBuffer1D<T, Stride1D.Dense> Allocate1D<T>(long length) where T : unmanaged => new(this, length, default);

        /// <summary>Launches run at once: nothing is ever waited for.</summary>
        public void Synchronize() { }

        /// <exception cref="KernelFault">Buffers of this accelerator are still allocated.</exception>
        private protected override void Free() => Machine.Close();
    }

    public abstract class AcceleratorStream : AcceleratorObject
    {
        private protected AcceleratorStream(Accelerator accelerator) : base(accelerator) { }

        public abstract void Synchronize();
    }

    internal sealed class KernelCheckStream(Accelerator accelerator) : AcceleratorStream(accelerator)
    {
        public override void Synchronize() { }
    }
}

namespace ILGPU.Runtime.CPU
{
    public sealed class CPUAccelerator : Accelerator
    {
        internal CPUAccelerator(Context context, CPUDevice device) : base(context, device) { }
    }
}
