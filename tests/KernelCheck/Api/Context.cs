using System.Collections.Immutable;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Util;

namespace ILGPU
{
    public class ContextProperties
    {
        internal ContextProperties() { }

        public OptimizationLevel OptimizationLevel { get; internal set; }
        public MathMode MathMode { get; internal set; }
        public InliningMode InliningMode { get; internal set; }
    }

    public sealed class Context : DisposeBase
    {
        private Context(Builder builder) => (Properties, Devices) = (builder, [.. builder.Devices]);

        public ContextProperties Properties { get; }
        public ImmutableArray<Device> Devices { get; }

        public static Builder Create() => new();

        public static Context Create(Action<Builder> buildingCallback)
        {
            Builder builder = Create();
            buildingCallback(builder);
            return builder.ToContext();
        }

        public static Context CreateDefault() => Create(builder => builder.Default());

        public Device GetPreferredDevice(bool preferCPU) =>
            Devices.Length > 0 ? Devices[0] : throw new InvalidOperationException("the context has no device");

        public sealed class Builder : ContextProperties
        {
            internal Builder() { }

            internal List<Device> Devices { get; } = [];

            internal Builder Add(Device device, bool wanted = true)
            {
                if (wanted && !Devices.Contains(device))
                    Devices.Add(device);
                return this;
            }

            public Context ToContext() => new(this);

            public Builder Default() => AllAccelerators();
            public Builder AllAccelerators() => Add(CPUDevice.Default);
            public Builder AllAccelerators(Predicate<Device> predicate) => Add(CPUDevice.Default, predicate(CPUDevice.Default));

            public Builder Optimize(OptimizationLevel level)
            {
                OptimizationLevel = level;
                return this;
            }

            public Builder Math(MathMode mathMode)
            {
                MathMode = mathMode;
                return this;
            }

            public Builder Inlining(InliningMode inliningMode)
            {
                InliningMode = inliningMode;
                return this;
            }

            public Builder Assertions() => this;
            public Builder Debug() => this;
            public Builder Release() => this;
            public Builder Verify() => this;
            public Builder Profiling() => this;
        }
    }
}

namespace ILGPU
{
    public static class AlgorithmContext
    {
        public static Context.Builder EnableAlgorithms(this Context.Builder builder) => builder;
    }
}
