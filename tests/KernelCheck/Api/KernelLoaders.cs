using MoeFromScratch.KernelCheck;

namespace ILGPU.Runtime;

/// <summary>A kernel is read, checked and re-emitted once; the delegate runs it at once, whatever the stream.</summary>
public static class KernelLoaders
{
    public static Action<KernelConfig, T1> LoadStreamKernel<T1>(this Accelerator accelerator, Action<T1> action)
        where T1 : struct
    {
        Kernel<ValueTuple<T1>> kernel = Kernel<ValueTuple<T1>>.Of(action);
        return (config, a1) => kernel.Run(accelerator, config, new(a1));
    }

    public static Action<AcceleratorStream, KernelConfig, T1> LoadKernel<T1>(this Accelerator accelerator, Action<T1> action)
        where T1 : struct
    {
        Kernel<ValueTuple<T1>> kernel = Kernel<ValueTuple<T1>>.Of(action);
        return (stream, config, a1) => kernel.Run(accelerator, config, new(a1));
    }

    public static Action<KernelConfig, T1, T2> LoadStreamKernel<T1, T2>(this Accelerator accelerator, Action<T1, T2> action)
        where T1 : struct where T2 : struct
    {
        Kernel<(T1, T2)> kernel = Kernel<(T1, T2)>.Of(action);
        return (config, a1, a2) => kernel.Run(accelerator, config, (a1, a2));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2> LoadKernel<T1, T2>(this Accelerator accelerator, Action<T1, T2> action)
        where T1 : struct where T2 : struct
    {
        Kernel<(T1, T2)> kernel = Kernel<(T1, T2)>.Of(action);
        return (stream, config, a1, a2) => kernel.Run(accelerator, config, (a1, a2));
    }

    public static Action<KernelConfig, T1, T2, T3> LoadStreamKernel<T1, T2, T3>(this Accelerator accelerator, Action<T1, T2, T3> action)
        where T1 : struct where T2 : struct where T3 : struct
    {
        Kernel<(T1, T2, T3)> kernel = Kernel<(T1, T2, T3)>.Of(action);
        return (config, a1, a2, a3) => kernel.Run(accelerator, config, (a1, a2, a3));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3> LoadKernel<T1, T2, T3>(this Accelerator accelerator, Action<T1, T2, T3> action)
        where T1 : struct where T2 : struct where T3 : struct
    {
        Kernel<(T1, T2, T3)> kernel = Kernel<(T1, T2, T3)>.Of(action);
        return (stream, config, a1, a2, a3) => kernel.Run(accelerator, config, (a1, a2, a3));
    }

    public static Action<KernelConfig, T1, T2, T3, T4> LoadStreamKernel<T1, T2, T3, T4>(this Accelerator accelerator, Action<T1, T2, T3, T4> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct
    {
        Kernel<(T1, T2, T3, T4)> kernel = Kernel<(T1, T2, T3, T4)>.Of(action);
        return (config, a1, a2, a3, a4) => kernel.Run(accelerator, config, (a1, a2, a3, a4));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4> LoadKernel<T1, T2, T3, T4>(this Accelerator accelerator, Action<T1, T2, T3, T4> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct
    {
        Kernel<(T1, T2, T3, T4)> kernel = Kernel<(T1, T2, T3, T4)>.Of(action);
        return (stream, config, a1, a2, a3, a4) => kernel.Run(accelerator, config, (a1, a2, a3, a4));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5> LoadStreamKernel<T1, T2, T3, T4, T5>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct
    {
        Kernel<(T1, T2, T3, T4, T5)> kernel = Kernel<(T1, T2, T3, T4, T5)>.Of(action);
        return (config, a1, a2, a3, a4, a5) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5> LoadKernel<T1, T2, T3, T4, T5>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct
    {
        Kernel<(T1, T2, T3, T4, T5)> kernel = Kernel<(T1, T2, T3, T4, T5)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6> LoadStreamKernel<T1, T2, T3, T4, T5, T6>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6)> kernel = Kernel<(T1, T2, T3, T4, T5, T6)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6> LoadKernel<T1, T2, T3, T4, T5, T6>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6)> kernel = Kernel<(T1, T2, T3, T4, T5, T6)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7> LoadKernel<T1, T2, T3, T4, T5, T6, T7>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8, a9) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct where T12 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct where T12 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct where T12 : struct where T13 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct where T12 : struct where T13 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13));
    }

    public static Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14> LoadStreamKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct where T12 : struct where T13 : struct where T14 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14)>.Of(action);
        return (config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14));
    }

    public static Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14> LoadKernel<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14>(this Accelerator accelerator, Action<T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14> action)
        where T1 : struct where T2 : struct where T3 : struct where T4 : struct where T5 : struct where T6 : struct where T7 : struct where T8 : struct where T9 : struct where T10 : struct where T11 : struct where T12 : struct where T13 : struct where T14 : struct
    {
        Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14)> kernel = Kernel<(T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14)>.Of(action);
        return (stream, config, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14) => kernel.Run(accelerator, config, (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14));
    }
}
